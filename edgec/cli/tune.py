"""Measure other schedules of a model's kernels, and keep those that are faster, in a text file that can be committed.

    edgec tune model.onnx                                             # writes model.tune.edge
    edgec compile model.onnx --schedules model.tune.edge
    edgec tune model.onnx --target aarch64 --runner 'scp {program} board: && ssh board ./timing'

The kernels that take most come first. Run again, it goes on with those that the file does not have.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import add_model_arguments, load_model

name, help = "tune", "measure other schedules, and keep those that are faster"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--target", default="native", metavar="TARGET", help="the machine to tune for (default: native)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long to measure (default: 60)")
    parser.add_argument("--runner", default="", metavar="COMMAND", help="run candidates by this command, with {program} in it")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the schedules, added to what it has (default: MODEL.tune.edge)")
    parser.add_argument("--again", action="store_true", help="measure kernels that the file has once more")
    parser.add_argument("--passes", action="append", default=[], metavar="FILE", help="a Python file with passes of your own")
    parser.add_argument("--without", default="", metavar="PASS,...", help="program passes to leave out, as when compiling")
    parser.add_argument("--max-flash-growth", type=float, metavar="X", help="as it will be compiled (default: the target's)")
    parser.add_argument("-O", dest="optimize", default="3", choices=["0", "1", "2", "3", "s"], help="as it will be compiled (default: 3)")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16", "f16"], help="as it will be compiled (default: f32)")


def run(arguments: argparse.Namespace) -> int:
    from edgec.profile import shortened
    from edgec.tune import tune

    file = arguments.output or Path(Path(arguments.model).stem + ".tune.edge")
    graph = load_model(arguments)

    def told(entry: Any, count: int) -> None:
        times = f"{1e6 * entry.before:10.1f} -> {1e6 * entry.after:10.1f} us  {entry.before / entry.after:5.2f} times as fast"
        print(f"{shortened(entry.name):36}  {times}  {entry.tried:3} tried" + (f"  {count} times" if count > 1 else ""), flush=True)

    with delayed_progress(f"tuning {arguments.model}"):
        found = tune(graph, file, arguments.target, seconds=arguments.seconds, runner=arguments.runner, again=arguments.again,
                     passes=tuple(arguments.passes), without=tuple(filter(None, arguments.without.split(","))),
                     optimize=arguments.optimize, precision=arguments.precision,
                     max_flash_growth=arguments.max_flash_growth, report=told)
    if found.entries:
        print(f"{len(found.entries)} kernels: {1e3 * found.before:.3f} -> {1e3 * found.after:.3f} ms, each timed by itself")
    print(f"{file}: {found.known} kernels were known, {found.left} are left" + ("; run again to go on" if found.left else ""))
    return 0
