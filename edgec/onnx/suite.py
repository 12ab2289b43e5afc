"""ONNX's own test suite (`onnx.backend.test`): 2,033 models with inputs and results, run by edgec and judged as ONNX's runner judges them.

The node cases are made when their modules are imported; the other four kinds lie in the onnx package as files. Each case runs the way
`edgec run` does: arrays under the names of inputs, the graph specialised for them (edgec.onnx.specialise), interpreted or compiled.

    outcome(case, interpreted)      # Outcome("test_abs", "Abs", "passed", "", 0.01); `interpreted` is one of edgec.cli.runs
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TypeProto, numpy_helper

from edgec.errors import CompileError, Unsupported
from edgec.named_arrays import gathered, spread

KINDS = ("node", "real", "simple", "pytorch-converted", "pytorch-operator")
VERDICTS = ("passed", "refused", "wrong", "crashed", "hung")
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
Run = Callable[[ModelProto, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Case:
    """One test: a model and data sets (inputs, expected outputs) in the order of the model's inputs and outputs."""

    name: str
    kind: str
    source: Any  # onnx's TestCase

    @cached_property
    def model(self) -> ModelProto:
        """The model; those of files are read when first asked for."""
        return self.source.model or onnx.load(self._folder / "model.onnx" if self.kind != "real" else self._light)

    @property
    def operator(self) -> str:
        """What a node case is about: the operator of its (first) node; the name of the model for the other kinds."""
        if self.kind != "node":
            return self.kind
        named = [n for n in self.model.graph.node if n.op_type.replace("_", "").lower() in self.name.replace("_", "")]
        node = (named or self.model.graph.node)[0]
        return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type

    @property
    def data_sets(self) -> list[tuple[list[Any], list[Any]]]:
        """(inputs, expected outputs): arrays, lists of arrays, or None for an absent optional."""
        if self.kind == "node":
            return [([_plain(i) for i in inputs], [_plain(o) for o in outputs]) for inputs, outputs in self.source.data_sets]
        if self.kind == "real":
            return [_light_data(self.model, self._light)]
        folders = sorted(self._folder.glob("test_data_set*"))
        return [(_stored(f, "input", self.model.graph.input), _stored(f, "output", self.model.graph.output)) for f in folders]

    @property
    def _folder(self) -> Path:
        return Path(self.source.model_dir)

    @property
    def _light(self) -> Path:
        return Path(onnx.__file__).parents[1] / self.source.url


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `verdict` is one of VERDICTS, `reason` says why it did not pass."""

    case: str
    operator: str
    verdict: str
    reason: str
    seconds: float


@cache
def cases() -> tuple[Case, ...]:
    """Every case of the suite, in its order."""
    from onnx.backend.test.loader import load_model_tests
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(Case(c.name, kind, c) for kind in KINDS for c in load_model_tests(kind=kind))


def _plain(item: Any) -> Any:
    """A test value as an array, a list, or None; numbers and protos become arrays."""
    if isinstance(item, (list, tuple)):
        return [_plain(i) for i in item]
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    return item if item is None else np.asarray(item)


def _stored(folder: Path, stem: str, infos: Sequence[Any]) -> list[Any]:
    """The values of the files stem_0.pb, stem_1.pb ..."""
    count = len(list(folder.glob(f"{stem}_*.pb")))
    return [_read_value((folder / f"{stem}_{n}.pb").read_bytes(), info.type) for n, info in zip(range(count), infos)]


def _read_value(data: bytes, type_: TypeProto) -> Any:
    kind = type_.WhichOneof("value")
    if kind == "sequence_type":
        return [_plain(i) for i in numpy_helper.to_list(onnx.SequenceProto.FromString(data))]
    if kind == "optional_type":
        return _plain(numpy_helper.to_optional(onnx.OptionalProto.FromString(data)))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _light_data(model: ModelProto, path: Path) -> tuple[list[Any], list[Any]]:
    """A light model has no input files: ONNX's runner feeds k / count at element k, and stores what it expects beside the model."""
    given = {t.name for t in model.graph.initializer}
    shapes = [[max(1, d.dim_value) for d in i.type.tensor_type.shape.dim] for i in model.graph.input if i.name not in given]
    inputs = [(np.arange(n := int(np.prod(s))).reshape(s) / n).astype(np.float32) for s in shapes]
    outputs = [Path(f"{path.with_suffix('')}_output_{n}.pb").read_bytes() for n in range(len(model.graph.output))]
    return inputs, [_read_value(d, o.type) for d, o in zip(outputs, model.graph.output)]


def outcome(case: Case, run: Run) -> Outcome:
    """The outcome of a case whose results `run` computes; nothing is raised."""
    start = time.perf_counter()
    try:
        verdict, reason = _verdict(case, run)
    except Unsupported as error:
        verdict, reason = "refused", str(error)
    except CompileError as error:
        verdict, reason = "wrong", f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever happens belongs into the table
        verdict, reason = "wrong", f"an internal {type(error).__name__}: {error}"
    return Outcome(case.name, case.operator, verdict, reason, time.perf_counter() - start)


def _verdict(case: Case, run: Run) -> tuple[str, str]:
    infos = [i for i in case.model.graph.input if i.name not in {t.name for t in case.model.graph.initializer}]
    for inputs, expected in case.data_sets:
        given = infos if len(inputs) <= len(infos) else case.model.graph.input
        results = run(case.model, spread([i.name for i in given], inputs))
        names = [o.name for o in case.model.graph.output]
        problem = _differences(gathered(names, results), expected, case)
        if problem:
            return "wrong", problem
    return "passed", ""


def _differences(found: Sequence[Any], expected: Sequence[Any], case: Case) -> str:
    """'' where the results are those expected. Random results are right when type and shape are."""
    if len(found) != len(expected):
        return f"{len(found)} results instead of {len(expected)}"
    random = any(n.op_type in RANDOM for n in case.model.graph.node)
    return next(filter(None, (difference(a, b, case.source.rtol, case.source.atol, random) for a, b in zip(found, expected))), "")


def difference(ours: Any, theirs: Any, rtol: float, atol: float, random: bool = False) -> str:
    """'' where two values agree as ONNX's runner has it: shapes and types equal, numbers by numpy's allclose, bf16 within two units."""
    if isinstance(theirs, list) or theirs is None or ours is None or isinstance(ours, list):
        if type(ours) is not type(theirs) or theirs is not None and len(ours) != len(theirs):
            return f"{_shown(ours)} instead of {_shown(theirs)}"
        return next(filter(None, (difference(a, b, rtol, atol, random) for a, b in zip(ours or (), theirs or ()))), "")
    text = theirs.dtype.kind in "OUS"
    if ours.shape != theirs.shape or (ours.dtype.kind not in "OUS" if text else ours.dtype != theirs.dtype):
        return f"{_shown(ours)} instead of {_shown(theirs)}"
    if random:
        return ""
    close = ours.astype(str) == theirs.astype(str) if text else _close(ours, theirs, rtol, atol)
    return "" if np.all(close) else f"{np.sum(~close)} of {close.size} elements differ"


def _close(ours: np.ndarray, theirs: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    if ours.dtype.name == "bfloat16":
        rtol = max(rtol, 2.0**-6)
    if ours.dtype.kind in "biu":
        ours, theirs = ours.astype(np.int64), theirs.astype(np.int64)
    elif ours.dtype.kind not in "fc" or ours.dtype.itemsize < 4:
        ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return np.isclose(ours, theirs, rtol, atol, equal_nan=True)


def _shown(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "nothing" if value is None else f"{len(value)} items"
