"""Runs ONNX's own test suite (edgec.onnx_suite), interpreted and compiled, and prints the counts by operator.

    python docs/measure_suite.py                      # all of both, on two processes
    python docs/measure_suite.py --how native --match test_attention --reasons
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Iterator, Sequence

from edgec.cli.runs import compiled, interpreted
from edgec.isolation import Lost, run_isolated
from edgec.onnx_suite import VERDICTS, Case, Outcome, cases, outcome

HOW = {"interpreter": interpreted, "native": compiled}


def measured(how: str, chosen: Sequence[Case], workers: int, seconds: float) -> Iterator[Outcome]:
    """The outcome of every chosen case, in the order they are done."""
    for number, result in run_isolated(lambda case: outcome(case, HOW[how]), chosen, workers, seconds):
        lost = isinstance(result, Lost)
        yield Outcome(chosen[number].name, chosen[number].operator, result.verdict, result.reason, seconds) if lost else result


def table(found: Sequence[Outcome]) -> str:
    """A line an operator: how many cases passed, were refused, and so on."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for each in found:
        counts[each.operator][each.verdict] += 1
    lines = [f"{'operator':40}" + "".join(f"{v:>9}" for v in VERDICTS)]
    lines += [f"{name:40}" + "".join(f"{count[v] or '':>9}" for v in VERDICTS) for name, count in sorted(counts.items())]
    total = Counter(each.verdict for each in found)
    return "\n".join([*lines, f"{'all':40}" + "".join(f"{total[v]:>9}" for v in VERDICTS)])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=[*HOW, "both"], default="both")
    parser.add_argument("--match", default="", help="only cases whose name holds this")
    parser.add_argument("--reasons", action="store_true", help="one line for every case that did not pass")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="the most one case may take")
    parser.add_argument("--json", type=Path, help="write the outcomes here as well")
    arguments = parser.parse_args()
    chosen = [c for c in cases() if arguments.match in c.name]
    results = {}
    for how in HOW if arguments.how == "both" else [arguments.how]:
        start = time.perf_counter()
        found = results[how] = sorted(measured(how, chosen, arguments.workers, arguments.seconds), key=lambda o: (o.operator, o.case))
        print(f"{how}: {len(found)} cases in {time.perf_counter() - start:.0f} s\n{table(found)}\n")
        for each in found if arguments.reasons else ():
            if each.verdict != "passed":
                print(f"{each.verdict:8} {each.operator:24} {each.case:60} {' '.join(each.reason.split())[:400]}")
    if arguments.json:
        arguments.json.write_text(json.dumps({how: [vars(o) for o in found] for how, found in results.items()}, indent=1))


if __name__ == "__main__":
    main()
