"""List the graph passes with their options, and the pipeline that `edgec compile` runs.

    edgec passes
"""

from __future__ import annotations

import argparse

from edgec.cli.text_table import text_table

name, help = "passes", "list the graph passes and their options"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passes", action="append", default=[], metavar="FILE", help="a Python file with passes of your own, listed too")


def run(arguments: argparse.Namespace) -> int:
    from edgec.compiler import GRAPH_PASSES, PROGRAM_PASSES
    from edgec.pipeline import load_passes, registered
    found = [*registered().values(), *(each for file in arguments.passes for each in load_passes(file))]
    rows = [[p.name, ", ".join(f"{option}={value!r}" for option, value in p.options.items()), p.meaning] for p in found]
    print(text_table(["pass", "options", "meaning"], rows))
    print(f"\npipeline: {GRAPH_PASSES}")
    print("\n" + text_table(["program pass", "why it stands here"], [[step.__name__, reason] for step, reason in PROGRAM_PASSES]))
    return 0
