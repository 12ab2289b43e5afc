"""TFLite models for tests: small ones built here, real ones from `../shared`, and TFLite's reference kernels as the judge.

    x = Made("i8", (1, 4, 4, 2), scale=0.5, zero=3)
    model = build("RELU", [x], [Made("i8", (1, 4, 4, 2), scale=0.25)])
    judged(model, [array])          # what the reference kernels compute
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from edgec.evaluate import evaluate_op
from edgec.graph import run_reference
from edgec.types import DTYPES

SHARED = Path(__file__).resolve().parents[3] / "shared"
CODES = {"f32": 0, "f16": 1, "i32": 2, "u8": 3, "i64": 4, "bool": 6, "i16": 7, "i8": 9}


@dataclass(frozen=True, eq=False)
class Made:
    """A tensor of a model to be built: computed or an input, or a constant with `data`."""

    dtype: str
    shape: tuple[int, ...]
    scale: Any = None
    zero: Any = 0
    axis: int = 0
    data: np.ndarray | None = None
    signature: tuple[int, ...] | None = None


def fixed(array: np.ndarray, **quantization: Any) -> Made:
    """A constant."""
    name = next(n for n, t in DTYPES.items() if t.numpy == array.dtype and n != "index")
    return Made(name, array.shape, data=array, **quantization)


def build(name: str, inputs: Sequence[Made | None], outputs: Sequence[Made], options: tuple[str, dict[str, Any]] | None = None,
          custom: str = "") -> bytes:
    """The bytes of a model of one operator; its inputs are those without data."""
    b = flatbuffers.Builder(1024)
    tensors = [t for t in (*inputs, *outputs) if t is not None]
    buffers = [_buffer(b, None)] + [_buffer(b, t.data) for t in tensors]
    made = [_tensor(b, t, n) for n, t in enumerate(tensors)]
    place = {id(t): n for n, t in enumerate(tensors)}
    listed = _ints(b, [-1 if t is None else place[id(t)] for t in inputs])
    results = _ints(b, [place[id(t)] for t in outputs])
    table = _options(b, *options) if options else None
    tflite.OperatorStart(b)
    tflite.OperatorAddInputs(b, listed)
    tflite.OperatorAddOutputs(b, results)
    if options:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options[0]))
        tflite.OperatorAddBuiltinOptions(b, table)
    operators = _offsets(b, [tflite.OperatorEnd(b)])
    vectors = [_offsets(b, made), _ints(b, [place[id(t)] for t in inputs if t is not None and t.data is None]), results, operators]
    tflite.SubGraphStart(b)
    for part, vector in zip(("Tensors", "Inputs", "Outputs", "Operators"), vectors):
        getattr(tflite, f"SubGraphAdd{part}")(b, vector)
    graphs = _offsets(b, [tflite.SubGraphEnd(b)])
    return _finished(b, name, graphs, buffers, custom)


def _finished(b: Any, name: str, graphs: int, buffers: list[int], custom: str) -> bytes:
    code = getattr(tflite.BuiltinOperator, name)
    text = b.CreateString(custom)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, code)
    tflite.OperatorCodeAddVersion(b, 2 if name == "BROADCAST_TO" else 1)
    if custom:
        tflite.OperatorCodeAddCustomCode(b, text)
    codes, held = _offsets(b, [tflite.OperatorCodeEnd(b)]), _offsets(b, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, held)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def _ints(b: Any, numbers: Sequence[int]) -> int:
    return b.CreateNumpyVector(np.array(numbers, np.int32))


def _offsets(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _buffer(b: Any, data: np.ndarray | None) -> int:
    raw = None if data is None else b.CreateByteVector(np.ascontiguousarray(data).tobytes())
    tflite.BufferStart(b)
    if raw is not None:
        tflite.BufferAddData(b, raw)
    return tflite.BufferEnd(b)


def _tensor(b: Any, t: Made, n: int) -> int:
    shape, name = _ints(b, t.shape), b.CreateString(f"t{n}")
    signature = _ints(b, t.signature) if t.signature else None
    quantization = None
    if t.scale is not None:
        scale = b.CreateNumpyVector(np.atleast_1d(np.asarray(t.scale, np.float32)))
        zero = b.CreateNumpyVector(np.broadcast_to(np.asarray(t.zero, np.int64), np.atleast_1d(t.scale).shape).copy())
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale)
        tflite.QuantizationParametersAddZeroPoint(b, zero)
        tflite.QuantizationParametersAddQuantizedDimension(b, t.axis)
        quantization = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, CODES[t.dtype])
    tflite.TensorAddBuffer(b, n + 1)
    tflite.TensorAddName(b, name)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    if signature is not None:
        tflite.TensorAddShapeSignature(b, signature)
    return tflite.TensorEnd(b)


def _options(b: Any, kind: str, values: dict[str, Any]) -> int:
    made = {n: _ints(b, v) if isinstance(v, (tuple, list)) else v for n, v in values.items()}
    getattr(tflite, f"{kind}Start")(b)
    for n, v in made.items():
        getattr(tflite, f"{kind}Add" + re.sub(r"(?:^|_)(\w)", lambda m: m[1].upper(), n))(b, v)
    return getattr(tflite, f"{kind}End")(b)


def judged(model: bytes | Path, arrays: Sequence[np.ndarray], reference: bool = True) -> list[np.ndarray]:
    """The results of TFLite's reference kernels, or (they lack some) of its usual ones, without any delegate."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    given = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = Interpreter(**given, experimental_op_resolver_type=resolver, num_threads=1)
    runner.allocate_tensors()
    for detail, array in zip(runner.get_input_details(), arrays):
        runner.set_tensor(detail["index"], array)
    runner.invoke()
    return [runner.get_tensor(detail["index"]) for detail in runner.get_output_details()]


def drawn(dtype: Any, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Integers over all their range, or normally distributed numbers."""
    rng = np.random.default_rng(seed)
    if dtype.is_integer:
        return rng.integers(dtype.low, dtype.high, shape, endpoint=True).astype(dtype.numpy)
    return rng.normal(0, 2, shape).astype(dtype.numpy) if dtype.is_float else rng.integers(0, 2, shape).astype(bool)


def interpreted(model: bytes, arrays: Sequence[np.ndarray], requant: str) -> tuple[Any, list[np.ndarray]]:
    """The graph and what the interpreter makes of arrays; every operator's lowering is held against its reference on the way."""
    import edgec
    graph = edgec.load(model, requant=requant)
    values = dict(zip(graph.inputs, arrays))
    for op in graph.ops:
        if op.operands:
            given = [v.array if v.is_constant else values[v] for v in op.operands]
            results = run_reference(op, given)
            values.update(zip(op.results, results))
            if hasattr(op, "lower") and op.domain == "edgec":
                for found, expected in zip(evaluate_op(op, given), results):
                    np.testing.assert_array_equal(found, expected)
    return graph, [v.array if v.is_constant else values[v] for v in graph.outputs]


@pytest.fixture(scope="session")
def make():
    """(build, Made, fixed): see above."""
    return build, Made, fixed


@pytest.fixture(scope="session")
def judge():
    pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert, the judge of .tflite models, is not installed")
    return judged


@pytest.fixture(scope="session")
def agree(judge):
    """agree(model, requant, seeds, tolerance): the interpreter equals the reference kernels; the arrays and results of the last seed."""
    def run(model: bytes, requant: str = "tflite", seeds: int = 2, tolerance: float = 0.0, quanta: int = 0, draw=drawn,
            reference: bool = True):
        import edgec
        inputs = edgec.load(model, requant=requant).inputs
        for seed in range(seeds):
            arrays = [draw(v.dtype, v.shape, seed + 10 * n) for n, v in enumerate(inputs)]
            graph, found = interpreted(model, arrays, requant)
            for mine, theirs in zip(found, judge(model, arrays, reference), strict=True):
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                difference = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
                allowed = tolerance * np.maximum(np.abs(theirs), 1) if mine.dtype.kind == "f" else quanta
                wrong = difference > allowed
                assert not wrong.any(), f"{wrong.sum()} of {wrong.size} differ by up to {difference.max()}"
        return graph, arrays, found
    return run


@pytest.fixture(scope="session")
def shared_folder():
    """shared_folder(name): a folder beside the repository; the test is skipped where it is absent."""
    def find(name: str) -> Path:
        if not (SHARED / name).is_dir():
            pytest.skip(f"no ../shared/{name} beside the repository")
        return SHARED / name
    return find


@pytest.fixture(scope="session")
def shared_file():
    """shared_file(folder, name): a file beside the repository; the test is skipped where it is absent."""
    def find(folder: str, name: str) -> Path:
        path = SHARED / folder / name
        if not path.is_file():
            pytest.skip(f"no ../shared/{folder}/{name} beside the repository")
        return path
    return find
