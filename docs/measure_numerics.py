"""How far compiled models are from the interpreter, with Winograd and without: the table of docs/numerics.md, on standard output.

    python docs/measure_numerics.py ../zoo/*.onnx > table.md

A row is the output that differs most: its largest value, and the largest difference relative to that. Inputs are drawn, symbolic dimensions
at their largest. The exit status is 1 when a model of f32 misses the bound of 1e-4, or one of lower `--precision` that of `edgec verify`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from platformdirs import user_cache_path

from edgec.backends.native import runs_here
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.errors import CompileError
from edgec.graph import Graph
from edgec.interpreter import interpret
from edgec.onnx.reader import load
from edgec.verification import PRECISIONS, Difference, compare

BOUND = 1e-4
HEAD = "| model | largest value | relative difference | without Winograd |\n|---|---|---|---|"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--target", default="native")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16", "f16"], help="then the differences are those from f32")
    arguments = parser.parse_args()
    print(HEAD, flush=True)
    missed = 0
    for path in sorted(map(Path, arguments.models)):
        try:
            found, plain = differences(load(path), arguments.target, arguments.precision)
        except CompileError as error:
            print(f"{path.stem}: {error}", file=sys.stderr)
            continue
        print(f"| {path.stem} | {found.largest:.3g} | {found.relative:.1e} | {plain.relative:.1e} |", flush=True)
        missed += max(found.relative, plain.relative) > (PRECISIONS.get(arguments.precision) or BOUND)
    return 1 if missed else 0


def differences(graph: Graph, target: str, precision: str = "f32") -> tuple[Difference, Difference]:
    """The worst output of the model as it is compiled, and of the model without Winograd."""
    inputs = drawn_inputs(graph)
    expected = interpret(graph, inputs)

    def worst(winograd: bool) -> Difference:
        artifact = compile(graph, target, winograd=winograd, precision=precision, cache=user_cache_path("edgec"))
        found = artifact.run(inputs)
        if runs_here(artifact.target):
            artifact.loaded.close()
        return max((compare(name, found[name], expected[name]) for name in expected), key=lambda d: d.relative)
    return worst(True), worst(False)


if __name__ == "__main__":
    sys.exit(main())
