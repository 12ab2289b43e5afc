"""What `-Os` makes of a model: writes the table of docs/schedules.md between its marks `size`.

    python docs/measure_size.py ../zoo/mobilenet_v2.onnx

Code is all sections of machine code. On this computer the cost is time (processor time, the least of many calls, both builds in turn),
elsewhere executed instructions under emulation.
"""

from __future__ import annotations

import argparse
import re
import time
from contextlib import ExitStack
from pathlib import Path

from platformdirs import user_cache_path

from edgec.backends.artifact import Artifact
from edgec.backends.emulate import emulate
from edgec.backends.inspect_object import section_sizes
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.onnx.reader import load

PAGE = Path(__file__).with_name("schedules.md")
BEGIN, END = "<!-- size: begin -->\n", "<!-- size: end -->"
HERE, OTHERS = "native", ("aarch64", "cortex-a7")
ROUNDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    inputs = drawn_inputs(load(model))
    lines = ["| target | -O3 | -Os | cost |", "|---|---|---|---|"]
    for target in (HERE, *OTHERS):
        builds = [compile(model, target, optimize=level, cache=user_cache_path("edgec")) for level in "3s"]
        cost = time_cost(builds, inputs) if target == HERE else instruction_cost(builds, inputs)
        fast, small = (sum(size for name, size in section_sizes(each.object).items() if ".text" in name) for each in builds)
        name = builds[0].target.seen.partition(" with ")[0] or target
        lines.append(f"| {name} | {fast / 1e3:.0f} KB | {small / 1e3:.0f} KB | {cost} |")
    page = PAGE.read_text(encoding="utf-8")
    found = re.sub(f"{BEGIN}.*?{END}", lambda _: BEGIN + "\n".join(lines) + "\n" + END, page, flags=re.DOTALL)
    PAGE.write_text(found, encoding="utf-8")
    return 0


def time_cost(builds: list[Artifact], inputs: dict) -> str:
    """Milliseconds of a call of each."""
    with ExitStack() as stack:
        models = [stack.enter_context(build.load()) for build in builds]
        for each in models:
            each.run(inputs)
        rounds = [[_seconds(each.call) for each in models] for _ in range(ROUNDS)]
    fast, small = map(min, zip(*rounds))
    return f"{small / fast - 1:+.0%} of time ({fast * 1e3:.2f} to {small * 1e3:.2f} ms)"


def _seconds(call) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def instruction_cost(builds: list[Artifact], inputs: dict) -> str:
    """Executed instructions of each."""
    fast, small = (emulate(build, [inputs], count_instructions=True).instructions for build in builds)
    return f"{small / fast - 1:+.0%} of executed instructions ({fast / 1e6:.1f} M to {small / 1e6:.1f} M)"


if __name__ == "__main__":
    raise SystemExit(main())
