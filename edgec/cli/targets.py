"""List the machines edgec compiles for, or every fact about one.

    edgec targets
    edgec targets cortex-m4
"""

from __future__ import annotations

import argparse

from edgec.cli.text_table import text_table

name, help = "targets", "list the machines edgec compiles for"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="TARGET", help="show every fact about this one")


def run(arguments: argparse.Namespace) -> int:
    from edgec.backends.target import all_targets, find
    if arguments.target:
        print(find(arguments.target).text(), end="")
        return 0
    rows = [[t.name, t.triple, t.cpu, f"{t.vector_bits or '-'}", str(len(t.instructions)), _runs(t)] for t in all_targets()]
    print(text_table(["target", "triple", "processor", "vector bits", "instruction rows", "runs"], rows))
    return 0


def _runs(target) -> str:
    """How code for a target is run on this computer."""
    from edgec.backends.emulate import missing_tools
    from edgec.backends.native import runs_here
    if runs_here(target):
        return "here"
    missing = missing_tools(target)
    return f"needs {' and '.join(missing)}" if missing else "emulated"
