"""Compiles every ONNX model of some folders and compares what the objects compute with onnxruntime: native ones here, others under qemu.

    python docs/judge_models.py ../shared/models ZOO --targets native,aarch64        # a line a model and target; status 1 if one differs

An open dimension is compiled for a range and run at two sizes of it. Inputs are drawn (tests/models has those with data of their own); a
difference counts relative to the largest value of an output.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np

import edgec
from edgec.errors import CompileError

ALLOWED = 2e-4  # of the largest value of an output; integers must be equal
RANGE = "1..3"  # of an open dimension
SIZES = (1, 2)  # at which it is run


@dataclass(frozen=True)
class Row:
    """One model on one target: the worst relative difference, or why there is none."""

    model: str
    target: str
    difference: float
    seconds: float
    problem: str = ""

    @property
    def good(self) -> bool:
        return not self.problem and self.difference <= ALLOWED

    def __str__(self) -> str:
        verdict = self.problem.splitlines()[0] if self.problem else f"{self.difference:.1e}{'' if self.good else '  DIFFERS'}"
        return f"{self.model:34} {self.target:12} {self.seconds:6.1f} s  {verdict}"


def models(folders: Sequence[Path]) -> list[Path]:
    """Every ONNX file of the folders, by name."""
    return [path for folder in folders for path in sorted(folder.glob("*.onnx"))]


def shapes_of(session: Any, size: Any) -> dict[str, tuple[Any, ...]]:
    """The shapes of the inputs, `size` in place of what the model leaves open."""
    return {i.name: tuple(d if isinstance(d, int) else size for d in i.shape) for i in session.get_inputs()}


def samples(graph: Any, session: Any) -> Iterator[dict[str, np.ndarray]]:
    """Drawn inputs, at each of the sizes where a dimension is open."""
    from edgec.drawn_inputs import drawn_inputs
    for size in SIZES if graph.symbols else SIZES[:1]:
        drawn = drawn_inputs(graph, seed=size)
        yield {name: drawn[name][tuple(slice(n) for n in shape)] for name, shape in shapes_of(session, size).items()}


def judged(path: Path, target: str, optimize: str = "1") -> Row:
    """One model on one target."""
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path))
    started = time.perf_counter()
    try:
        opened = any(not isinstance(d, int) for i in session.get_inputs() for d in i.shape)
        graph = edgec.load(path, shapes_of(session, RANGE) if opened else None)
        artifact = edgec.compile(graph, target, optimize=optimize, prefix="model")
        names = [o.name for o in session.get_outputs()]
        worst = max(difference(dict(zip(names, session.run(names, arrays))), artifact.run(arrays)) for arrays in samples(graph, session))
    except CompileError as error:
        return Row(path.stem, target, np.nan, time.perf_counter() - started, str(error))
    return Row(path.stem, target, worst, time.perf_counter() - started)


def difference(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    """The largest difference of any output, relative to its largest value; infinite where integers, shapes or types differ."""
    from edgec.verification import compare
    return max(each.relative if each.relative <= ALLOWED else max(each.relative, 0.0) if array.dtype.kind == "f" else np.inf
               for name, array in expected.items() for each in [compare(name, found[name], array)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--targets", default="native,aarch64")
    parser.add_argument("--only", default="", help="models whose names hold this")
    arguments = parser.parse_args()
    wrong = 0
    for path in models(arguments.folders):
        for target in arguments.targets.split(",") if arguments.only in path.stem else ():
            row = judged(path, target)
            print(row, flush=True)
            wrong += not row.good
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
