"""Other runtimes under one roof: each is loaded on a model and called with arrays by name. They are imported only when asked for.

    load_peer("onnxruntime", "model.onnx", threads=1, outputs=["y"]).run({"x": x})      # {"y": array}
    load_peer("litert=model.tflite", "model.onnx", 1, ["y"])

onnxruntime and openvino read ONNX; the others need their own file, named behind `=`.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgec.errors import ModelError, Unsupported

Arrays = Mapping[str, np.ndarray]
Call = Callable[[Arrays], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Runner:
    """A loaded model: `run` sets inputs, runs and reads outputs. `recipe` is what another process needs to load it too."""

    name: str
    run: Call
    load_seconds: float
    recipe: tuple[Any, ...]


def load_peer(text: str, model: str, threads: int, outputs: Sequence[str]) -> Runner:
    """The runner of `name` or `name=FILE`. Unsupported for an unknown or missing runtime, ModelError when it refuses the model."""
    name, _, file = text.partition("=")
    if name not in PEERS:
        raise Unsupported(f"unknown peer '{name}'", hint=f"the peers are {', '.join(PEERS)}")
    package, own_format, make = PEERS[name]
    if own_format and not file:
        raise ModelError(f"{name} needs the model in its own format", hint=f"--against {name}=model{own_format}")
    path = file or model
    if not Path(path).is_file():
        raise ModelError(f"there is no file '{path}' for {name}")
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise Unsupported(f"{name} is not installed", hint=f"pip install {INSTALL.get(name, name)}") from None
    started = time.perf_counter()
    try:
        call = make(module, path, threads, list(outputs))
    except Exception as error:  # whatever the runtime raises when it does not like the model
        raise ModelError(f"{name} cannot load {path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    return Runner(name, call, time.perf_counter() - started, ("peer", text, model, threads, list(outputs)))


def _onnxruntime(module: Any, path: str, threads: int, outputs: list[str]) -> Call:
    options = module.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = module.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda arrays: dict(zip(outputs, session.run(outputs, dict(arrays))))


def _openvino(module: Any, path: str, threads: int, outputs: list[str]) -> Call:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = module.Core().compile_model(path, "CPU", settings).create_infer_request()

    def call(arrays: Arrays) -> dict[str, np.ndarray]:
        results = request.infer(dict(arrays), share_inputs=True)
        return {name: np.array(results[n]) for n, name in enumerate(outputs)}
    return call


def _ncnn(module: Any, path: str, threads: int, outputs: list[str]) -> Call:
    """pnnx names inputs in0, in1, ... and outputs out0, ...; it drops a batch of one."""
    net = module.Net()
    net.opt.num_threads = threads
    for option in ("use_vulkan_compute", "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    if net.load_param(path) or net.load_model(str(Path(path).with_suffix(".bin"))):
        raise ValueError("the .param and .bin files do not load")

    def call(arrays: Arrays) -> dict[str, np.ndarray]:
        with net.create_extractor() as extractor:
            for n, array in enumerate(arrays.values()):
                extractor.input(f"in{n}", module.Mat(array[0] if array.ndim > 1 and array.shape[0] == 1 else array))
            return {name: np.array(extractor.extract(f"out{n}")[1])[np.newaxis] for n, name in enumerate(outputs)}
    return call


def _mnn(module: Any, path: str, threads: int, outputs: list[str]) -> Call:
    interpreter = module.Interpreter(path)
    session = interpreter.createSession({"numThread": threads, "backend": "CPU", "precision": "high"})
    dense = module.Tensor_DimensionType_Caffe

    def call(arrays: Arrays) -> dict[str, np.ndarray]:
        for name, array in arrays.items():
            kind = module.Halide_Type_Float if array.dtype.kind == "f" else module.Halide_Type_Int
            interpreter.getSessionInput(session, name).copyFrom(module.Tensor(array.shape, kind, array, dense))
        interpreter.runSession(session)
        found = {}
        for name in outputs:
            tensor = interpreter.getSessionOutput(session, name)
            host = module.Tensor(tensor.getShape(), tensor.getDataType(), np.empty(tensor.getShape(), np.float32), dense)
            tensor.copyToHostTensor(host)
            found[name] = np.array(host.getNumpyData())
        return found
    return call


def _litert(module: Any, path: str, threads: int, outputs: list[str]) -> Call:
    """Images may lie channels last in the file; quantised inputs and outputs are converted as its scales say."""
    interpreter = module.Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details(), interpreter.get_output_details()

    def call(arrays: Arrays) -> dict[str, np.ndarray]:
        for detail, array in zip(given, arrays.values()):
            interpreter.set_tensor(detail["index"], _fitted(array, detail))
        interpreter.invoke()
        return {name: _real(interpreter.get_tensor(detail["index"]), detail) for name, detail in zip(outputs, made)}
    return call


def _fitted(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """An array in the layout and element type that a tensor of the file wants."""
    if array.ndim == 4 and array.shape != tuple(detail["shape"]):
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    scale, zero = detail["quantization"]
    if scale and np.issubdtype(detail["dtype"], np.integer):
        limits = np.iinfo(detail["dtype"])
        array = np.clip(np.rint(array / scale) + zero, limits.min, limits.max)
    return array.astype(detail["dtype"], copy=False)


def _real(array: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - np.float32(zero)) * np.float32(scale) if scale else array


INSTALL = {"litert": "ai-edge-litert", "mnn": "MNN"}
PEERS: dict[str, tuple[str, str, Callable[..., Call]]] = {  # the module, the suffix of its own format ("" reads ONNX), how to load
    "onnxruntime": ("onnxruntime", "", _onnxruntime),
    "openvino": ("openvino", "", _openvino),
    "ncnn": ("ncnn", ".param", _ncnn),
    "mnn": ("MNN", ".mnn", _mnn),
    "litert": ("ai_edge_litert.interpreter", ".tflite", _litert),
}
