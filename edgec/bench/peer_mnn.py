"""MNN as a peer. Its sessions refuse models with subgraphs (LSTM, GRU); those go through its modules.

    load_mnn(MNN, Loading("model.mnn", 1, ("y",))).call(...)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.bench.peer_settings import Arrays, Loading, Peer


def load_mnn(module: Any, loading: Loading) -> Peer:
    """Precision high: f32 throughout. ValueError when neither interface takes the file."""
    interpreter = module.Interpreter(loading.path)
    session = interpreter.createSession({"numThread": loading.threads, "backend": "CPU", "precision": "high"})
    if session is None or not all(all(t.getShape()) for t in interpreter.getSessionOutputAll(session).values()):  # a size of 0: refused
        return _module(module, loading)
    return _session(module, interpreter, session, loading)


def _session(module: Any, interpreter: Any, session: Any, loading: Loading) -> Peer:
    dense = module.Tensor_DimensionType_Caffe
    made = [(name, interpreter.getSessionOutput(session, name)) for name in loading.outputs]
    host = [_host(module, tensor, dense) for _, tensor in made]

    def prepare(arrays: Arrays) -> list[Any]:
        pairs = []
        for name, array in arrays.items():
            array = _narrow(array)
            kind = module.Halide_Type_Float if array.dtype.kind == "f" else module.Halide_Type_Int
            pairs.append((interpreter.getSessionInput(session, name), module.Tensor(array.shape, kind, array, dense)))
        return pairs

    def call(given: Any) -> dict[str, np.ndarray]:
        for tensor, array in given:
            tensor.copyFrom(array)
        interpreter.runSession(session)
        found = {}
        for (name, tensor), place in zip(made, host):
            tensor.copyToHostTensor(place)
            found[name] = np.array(place.getNumpyData())
        return found
    return Peer(prepare, call)


def _host(module: Any, tensor: Any, dense: Any) -> Any:
    shape = tensor.getShape()
    kind = np.float32 if tensor.getDataType() == module.Halide_Type_Float else np.int32
    return module.Tensor(shape, tensor.getDataType(), np.zeros(shape, kind), dense)


def _module(module: Any, loading: Loading) -> Peer:
    """The inputs' names are asked of the loaded file; a variable is written for every call."""
    nn, expr = module.nn, module.expr
    manager = nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": loading.threads},))
    net = nn.load_module_from_file(loading.path, [], list(loading.outputs), runtime_manager=manager)
    names = list(net.get_info()["inputNames"])

    def prepare(arrays: Arrays) -> list[Any]:
        return [_variable(module, _narrow(arrays[name])) for name in names]

    def call(given: Any) -> dict[str, np.ndarray]:
        for variable, array in given:
            variable.write(array)
        made = net.forward([variable for variable, _ in given])
        made = made if isinstance(made, (list, tuple)) else [made]
        return {name: np.array(expr.convert(out, expr.NCHW).read()) for name, out in zip(loading.outputs, made)}
    return Peer(prepare, call)


def _variable(module: Any, array: np.ndarray) -> tuple[Any, np.ndarray]:
    kind = module.numpy.float32 if array.dtype.kind == "f" else module.numpy.int32
    return module.expr.placeholder(list(array.shape), module.expr.NCHW, kind), array


def _narrow(array: np.ndarray) -> np.ndarray:
    """Whole numbers have 32 bits there."""
    return np.ascontiguousarray(array if array.dtype.kind == "f" else array.astype(np.int32))
