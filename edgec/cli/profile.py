"""Show where the time of a model goes, kernel by kernel, how far each is from what the machine can do, and why it is walked as it is.

    edgec profile model.onnx --order lost --why
    edgec profile model.onnx --html report.html --json profile.json
    edgec profile model.onnx --target cortex-m4          # counts and schedules: an emulator's time would mean nothing

The model runs as a whole on real inputs; the clock is read between its kernels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, compile_options, load_model, positive
from edgec.cli.run import input_arrays
from edgec.cli.size_argument import add_size_argument, size_option

name, help = "profile", "show where the time of a model goes, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="the input arrays by name (default: drawn)")
    add_size_argument(parser)
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="how long to run the model (default: 1)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of whole calls (default: 1); kernels have one")
    parser.add_argument("--order", choices=["time", "lost", "run"], default="time",
                        help="slowest first, most time above the roofline first, or as they run (default: time)")
    parser.add_argument("--top", type=int, metavar="N", help="show so many kernels (default: all)")
    parser.add_argument("--why", action="store_true", help="say where each kernel comes from and why it is walked as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to a file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page: table, graph, timeline (needs edgec[report])")


def run(arguments: argparse.Namespace) -> int:
    from edgec.backends.artifact import write_files
    from edgec.profile import profile

    graph = load_model(arguments)
    inputs = input_arrays(graph, arguments.inputs) if arguments.inputs else None
    with delayed_progress(f"profiling {arguments.model}") as report:
        result = profile(graph, inputs=inputs, sizes=size_option(arguments, graph),
                         seconds=arguments.seconds, threads=arguments.threads, progress=report, name=arguments.model,
                         **compile_options(arguments))
    files = {}
    if arguments.json:
        files[arguments.json] = (json.dumps(result.facts(), indent=2) + "\n").encode()
    if arguments.html:
        from edgec.profile_page import profile_page
        files[arguments.html] = profile_page(result).encode()
    print(result.summary())
    print(result.table(arguments.order, arguments.top))
    if arguments.why:
        print("\n" + result.why(arguments.order, arguments.top))
    write_files(files)
    return 0
