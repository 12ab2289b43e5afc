"""Runs ONNX's own test suite (edgec.onnx.suite), interpreted and compiled, and prints the counts by operator.

    python docs/measure_suite.py                      # all of both, on two processes
    python docs/measure_suite.py --how native --match test_attention --reasons
    python docs/measure_suite.py --page               # and keep the counts in docs/operators.json, of which `make docs` makes a table
    python docs/measure_suite.py --part 1/2 --json a.json; ... --part 2/2 --json b.json; ... --page --known a.json b.json    # in parts
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgec.cli.runs import compiled, interpreted
from edgec.isolation import Lost, run_isolated
from edgec.onnx.suite import VERDICTS, Case, Outcome, cases, outcome

HOW = {"interpreter": interpreted, "native": compiled}
PAGE = Path(__file__).with_name("operators.json")
REASON = 200  # letters of a reason that are kept


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


def counts(found: Sequence[Outcome]) -> dict[str, Any]:
    """What the page tells of the outcomes of one way: counts by operator, and every case that did not pass with its reason."""
    by_operator: dict[str, Counter] = defaultdict(Counter)
    for each in found:
        by_operator[each.operator][each.verdict] += 1
    left = [{"case": o.case, "operator": o.operator, "verdict": o.verdict, "reason": _short(o.reason)}
            for o in found if o.verdict != "passed"]
    return {"cases": len(found), "operators": {name: dict(count) for name, count in sorted(by_operator.items())}, "not_passed": left}


def _short(reason: str) -> str:
    """A reason without hint and notes, and without the place, which the case tells."""
    first = reason.split("\n")[0]
    text = first.partition("): ")[2] if first.startswith("node '") and "): " in first else first
    return text if len(text) <= REASON else text[:REASON - 3] + "..."


def processor_seconds() -> float:
    """Of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", choices=[*HOW, "both"], default="both")
    parser.add_argument("--match", default="", help="only cases whose name holds this")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every N-th case, from the K-th on")
    parser.add_argument("--known", type=Path, nargs="+", default=[], metavar="FILE", help="take what --json has written, and run nothing")
    parser.add_argument("--reasons", action="store_true", help="one line for every case that did not pass")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="the most one case may take")
    parser.add_argument("--page", action="store_true", help=f"keep the counts in {PAGE.name}; of all cases")
    parser.add_argument("--json", type=Path, help="write the outcomes here as well")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    chosen = [c for c in cases() if arguments.match in c.name][part - 1::parts] if not arguments.known else []
    known = [json.loads(file.read_text()) for file in arguments.known]
    results, seconds, kept = {}, {}, json.loads(PAGE.read_text()) if arguments.page and PAGE.exists() else {}
    for how in HOW if arguments.how == "both" else [arguments.how]:
        start, before = time.perf_counter(), processor_seconds()
        found = [*measured(how, chosen, arguments.workers, arguments.seconds), *(Outcome(**o) for each in known for o in each.get(how, ()))]
        found = {o.case: o for o in found}.values()  # what was measured last
        found = results[how] = sorted(found, key=lambda o: (o.operator, o.case))
        used = processor_seconds() - before + sum(each.get("processor_seconds", {}).get(how, 0) for each in known)
        seconds[how] = used
        print(f"{how}: {len(found)} cases in {time.perf_counter() - start:.0f} s, {used:.0f} s of a processor\n{table(found)}\n")
        kept[how] = {**counts(found), "processor_seconds": round(used)}
        for each in found if arguments.reasons else ():
            if each.verdict != "passed":
                print(f"{each.verdict:8} {each.operator:24} {each.case:60} {' '.join(each.reason.split())[:400]}")
    if arguments.page:
        PAGE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    if arguments.json:
        outcomes = {how: [vars(o) for o in found] for how, found in results.items()}
        arguments.json.write_text(json.dumps({**outcomes, "processor_seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
