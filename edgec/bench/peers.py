"""Other runtimes under one roof: each is loaded on a model and called with arrays by name. They are imported only when asked for.

    peer = load_peer("onnxruntime", "model.onnx", threads=1, outputs=["y"])
    peer.call(peer.prepare({"x": x}))                                       # {"y": array}
    load_peer("litert=model.tflite", "model.onnx", 1, ["y"])

onnxruntime and openvino read ONNX; the others need their own file, named behind `=`. Each has its fastest settings that keep f32 results,
openvino-bf16 those of 16-bit arithmetic.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.bench.peer_mnn import load_mnn
from edgec.bench.peer_settings import Arrays, Call, Loading, Peer
from edgec.errors import ModelError, Unsupported


@dataclass(frozen=True)
class Kind:
    """One runtime: its module, the package to install, the suffix of its own format ("" reads ONNX) and how it loads a file."""

    module: str
    package: str
    suffix: str
    load: Callable[[Any, Loading], Peer]


def load_peer(text: str, model: str, threads: int, outputs: Sequence[str]) -> Peer:
    """The peer of `name` or `name=FILE`. Unsupported for an unknown or missing runtime, ModelError when it refuses the model."""
    name, path = checked_peer(text, model)
    module = importlib.import_module(PEERS[name].module)
    started = time.perf_counter()
    try:
        peer = PEERS[name].load(module, Loading(path, threads, tuple(outputs)))
    except Exception as error:  # whatever the runtime raises when it does not like the model
        raise ModelError(f"{name} cannot load {path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    return peer.loaded_in(time.perf_counter() - started)


def checked_peer(text: str, model: str) -> tuple[str, str]:
    """The runtime's name and the file it is to load. Raises what `load_peer` raises before it loads anything; imports nothing."""
    name, _, file = text.partition("=")
    if name not in PEERS:
        raise Unsupported(f"unknown peer '{name}'", hint=f"the peers are {', '.join(PEERS)}")
    kind = PEERS[name]
    if kind.suffix and not file and not model.endswith(kind.suffix):
        raise ModelError(f"{name} needs the model in its own format", hint=f"--against {name}=model{kind.suffix}")
    if not Path(file or model).is_file():
        raise ModelError(f"there is no file '{file or model}' for {name}")
    if not importlib.util.find_spec(kind.module.partition(".")[0]):
        raise Unsupported(f"{name} is not installed", hint=f"pip install {kind.package}")
    return name, file or model


def _onnxruntime(module: Any, loading: Loading) -> Peer:
    options = module.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = loading.threads, 1
    options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = module.InferenceSession(loading.path, options, providers=["CPUExecutionProvider"])
    names = list(loading.outputs)
    return Peer(dict, lambda arrays: dict(zip(names, session.run(names, arrays))))


def _openvino(precision: str) -> Callable[[Any, Loading], Peer]:
    def load(module: Any, loading: Loading) -> Peer:
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": loading.threads, "NUM_STREAMS": 1}
        compiled = module.Core().compile_model(loading.path, "CPU", settings | {"INFERENCE_PRECISION_HINT": precision})
        return Peer(dict, _openvino_call(compiled.create_infer_request(), loading))
    return load


def _openvino_call(request: Any, loading: Loading) -> Call:
    """Inputs are lent, outputs copied once: `infer` does both."""
    def call(arrays: Any) -> dict[str, np.ndarray]:
        results = request.infer(arrays, share_inputs=True)
        return {name: results[n] for n, name in enumerate(loading.outputs)}
    return call


def _ncnn(module: Any, loading: Loading) -> Peer:
    """pnnx names inputs in0, in1, ... and outputs out0, ...; it drops a batch of one, and whole numbers have 32 bits."""
    net = module.Net()
    net.opt.num_threads = loading.threads
    for option in ("use_vulkan_compute", "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(loading.path) or net.load_model(str(Path(loading.path).with_suffix(".bin"))):
        raise ValueError("the .param and .bin files do not load")

    def prepare(arrays: Arrays) -> list[Any]:
        return [(f"in{n}", module.Mat(_ncnn_array(array)).clone()) for n, array in enumerate(arrays.values())]

    def call(given: Any) -> dict[str, np.ndarray]:
        with net.create_extractor() as extractor:
            for name, matrix in given:
                extractor.input(name, matrix)
            return {name: np.array(extractor.extract(f"out{n}")[1])[np.newaxis] for n, name in enumerate(loading.outputs)}
    return Peer(prepare, call)


def _ncnn_array(array: np.ndarray) -> np.ndarray:
    """Without the batch; whole numbers as 32 bits that lie where floats would."""
    dense = array[0] if array.ndim > 1 and array.shape[0] == 1 else array
    return np.ascontiguousarray(dense if dense.dtype == np.float32 else dense.astype(np.int32))


def _litert(module: Any, loading: Loading) -> Peer:
    """With its default delegate, XNNPACK. Quantised inputs and outputs are converted as the scales in the file say, where the compiled
    model's are real; where it has the same integers (it was made of the same file), they stay as they are."""
    interpreter = module.Interpreter(loading.path, num_threads=loading.threads)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details(), interpreter.get_output_details()

    def prepare(arrays: Arrays) -> tuple[list[Any], bool]:
        whole = any(array.dtype.kind in "iu" and array.dtype == detail["dtype"] for detail, array in zip(given, arrays.values()))
        return [(d["index"], a if whole and a.dtype == d["dtype"] else _fitted(a, d)) for d, a in zip(given, arrays.values())], whole

    def call(tensors: Any) -> dict[str, np.ndarray]:
        pairs, whole = tensors
        for index, array in pairs:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        found = ((name, interpreter.get_tensor(detail["index"]), detail) for name, detail in zip(loading.outputs, made))
        return {name: array if whole else _real(array, detail) for name, array, detail in found}
    return Peer(prepare, call)


def _fitted(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """An array in the layout (channels may come last) and element type that a tensor of the file wants."""
    if array.ndim > 2 and array.shape != tuple(detail["shape"]):
        array = np.ascontiguousarray(np.moveaxis(array, 1, -1))
    scale, zero = detail["quantization"]
    if scale and np.issubdtype(detail["dtype"], np.integer):
        limits = np.iinfo(detail["dtype"])
        array = np.clip(np.rint(array / scale) + zero, limits.min, limits.max)
    return array.astype(detail["dtype"], copy=False)


def _real(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - np.float32(zero)) * np.float32(scale) if scale else array


PEERS: dict[str, Kind] = {
    "onnxruntime": Kind("onnxruntime", "onnxruntime", "", _onnxruntime),
    "openvino": Kind("openvino", "openvino", "", _openvino("f32")),
    "openvino-bf16": Kind("openvino", "openvino", "", _openvino("bf16")),
    "ncnn": Kind("ncnn", "ncnn", ".param", _ncnn),
    "mnn": Kind("MNN", "MNN", ".mnn", load_mnn),
    "litert": Kind("ai_edge_litert.interpreter", "ai-edge-litert", ".tflite", _litert),
}
