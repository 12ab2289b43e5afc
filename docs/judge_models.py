"""Compiles every ONNX model of some folders and compares what the objects compute with onnxruntime: native ones here, others under qemu.

    python docs/judge_models.py ../shared/models ZOO --targets native,aarch64        # a line a model and target; status 1 if one differs
    python docs/judge_models.py ZOO --only resnet --keep                             # rows of docs/models.json, written into docs/models.md
    python docs/judge_models.py --page-only

Smallest files come first, each in a process of its own that has `--seconds`. Samples are those of docs/judge_samples.py; an open dimension
is compiled for a range and run at two sizes of it. A difference counts relative to the largest value of an output.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgec
from edgec.errors import CompileError

HERE = Path(__file__).resolve().parent
STORE, PAGE = HERE / "models.json", HERE / "models.md"
ALLOWED = 1e-4  # of the largest value of an output; integers must be equal
OPTIMIZE = {"native": "3"}  # levels; "1" for all that is emulated


@dataclass(frozen=True)
class Row:
    """One model on one target: the worst relative difference over so many real or drawn samples, or why there is none."""

    model: str
    target: str
    difference: float | None
    seconds: float
    problem: str = ""
    kind: str = ""
    runs: int = 0

    @property
    def good(self) -> bool:
        return not self.problem and self.difference is not None and self.difference <= ALLOWED

    def __str__(self) -> str:
        verdict = self.problem.splitlines()[0] if self.problem else f"{self.difference:.1e}{'' if self.good else '  DIFFERS'}"
        return f"{self.model:34} {self.target:12} {self.seconds:6.1f} s  {self.runs} {self.kind or 'runs':5} {verdict}"


def models(folders: Sequence[Path]) -> list[Path]:
    """Every ONNX file of the folders, the smallest first."""
    return sorted((path for folder in folders for path in folder.glob("*.onnx")), key=lambda path: (path.stat().st_size, path.name))


def judged(path: Path, target: str, optimize: str = "1") -> Row:
    """One model on one target."""
    import onnxruntime
    from judge_samples import RANGE, chosen, shapes_of
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    started = time.perf_counter()
    try:
        opened = any(not isinstance(d, int) for i in session.get_inputs() for d in i.shape)
        graph = edgec.load(path, shapes_of(session, RANGE) if opened else None)
        artifact = edgec.compile(graph, target, optimize=optimize, prefix="model")
        names = [o.name for o in session.get_outputs()]
        given = chosen(path, graph, session)
        expected = [dict(zip(names, session.run(names, arrays))) for arrays in given.samples]
        worst = max(map(difference, expected, artifact.run_steps(given.samples)))
    except CompileError as error:
        return Row(path.stem, target, None, time.perf_counter() - started, str(error))
    return Row(path.stem, target, float(worst), time.perf_counter() - started, kind=given.kind, runs=len(given.samples))


def difference(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    """The largest difference of any output, relative to its largest value; infinite where integers, shapes, types or what is NaN differ."""
    from edgec.verification import compare
    return max(each.relative if each.same or array.dtype.kind == "f" and each.relative > ALLOWED else np.inf
               for name, array in expected.items() for each in [compare(name, found[name], array, ALLOWED)])


def judged_within(seconds: float, path: Path, target: str) -> Row:
    """`judged` in a process of its own, which is ended with its emulator when the time is over."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_send, args=(there, path, target))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(seconds) else Row(path.stem, target, None, seconds, f"not within {seconds:g} s")
    except EOFError:
        return Row(path.stem, target, None, seconds, "the process ended early")
    finally:
        _end(process)


def _send(there: Any, path: Path, target: str) -> None:
    os.setsid()  # a group that the emulator belongs to as well
    there.send(judged(path, target, OPTIMIZE.get(target, "1")))


def _end(process: Any) -> None:
    process.join(1)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()


def stored() -> dict[str, Any]:
    """What has been kept."""
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}


def name_in_store(path: Path) -> str:
    """`shared/fsdd_tcn`, or `zoo/resnet18` for a model of any other folder."""
    from quantization_data import SHARED
    return f"{'shared' if path.resolve().is_relative_to(SHARED.resolve()) else 'zoo'}/{path.stem}"


def keep(path: Path, row: Row) -> None:
    """Puts a row into the store and writes the page anew."""
    from judge_page import page
    facts = stored()
    entry = facts.setdefault(name_in_store(path), {"bytes": path.stat().st_size, "targets": {}})
    entry["targets"][row.target] = {name: value for name, value in asdict(row).items() if name not in ("model", "target", "seconds")}
    STORE.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(facts), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--targets", default="native,aarch64")
    parser.add_argument("--only", default="", help="models whose names hold this")
    parser.add_argument("--seconds", type=float, default=360, help="for one model on one target")
    parser.add_argument("--keep", action="store_true", help="put the rows into docs/models.json and docs/models.md")
    parser.add_argument("--missing", action="store_true", help="only rows that docs/models.json does not have")
    parser.add_argument("--page-only", action="store_true", help="write docs/models.md from docs/models.json")
    arguments = parser.parse_args()
    if arguments.page_only:
        from judge_page import page
        PAGE.write_text(page(stored()), encoding="utf-8")
    return 0 if all([_told(arguments, path, target) for path, target in _wanted(arguments)]) else 1


def _wanted(arguments: argparse.Namespace) -> list[tuple[Path, str]]:
    """The rows that are asked for."""
    known = stored() if arguments.missing else {}
    every = ((path, target) for path in models(arguments.folders) if arguments.only in path.stem for target in arguments.targets.split(","))
    return [(path, target) for path, target in every if target not in known.get(name_in_store(path), {"targets": ()})["targets"]]


def _told(arguments: argparse.Namespace, path: Path, target: str) -> bool:
    """Judges one model, says so, and keeps the row where that is wanted."""
    row = judged_within(arguments.seconds, path, target)
    print(row, flush=True)
    if arguments.keep:
        keep(path, row)
    return row.good


if __name__ == "__main__":
    sys.exit(main())
