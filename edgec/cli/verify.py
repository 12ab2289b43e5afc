"""Compare the compiled model with the interpreter; when they differ, name the first kernel whose result does.

    edgec verify model.onnx --target aarch64 --inputs in.npz

Without --inputs, normally distributed ones are drawn (--seed), symbolic dimensions at their largest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, compile_options, load_model
from edgec.cli.run import input_arrays
from edgec.cli.size_argument import add_size_argument, size_option
from edgec.cli.text_table import text_table

name, help = "verify", "compare the compiled model with the interpreter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="the input arrays by name (default: drawn)")
    add_size_argument(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the drawn inputs (default: 0)")
    parser.add_argument("--tolerance", type=float, help="allowed difference, relative to the largest value of a tensor "
                        "(default: by element type, 1e-4 for f32; integers must be equal)")


def run(arguments: argparse.Namespace) -> int:
    from edgec.drawn_inputs import drawn_inputs
    from edgec.verification import verify
    graph, options = load_model(arguments), compile_options(arguments)
    sizes = size_option(arguments, graph)
    inputs = input_arrays(graph, arguments.inputs) if arguments.inputs else drawn_inputs(graph, arguments.seed, sizes)
    with delayed_progress(f"verifying {arguments.model}"):
        verdict = verify(graph, inputs, tolerance=arguments.tolerance, **options)
    print(text_table(["output", "largest value", "largest difference", "relative", "verdict"],
                     [[d.name, d.largest, d.difference, d.relative, "same" if d.same else "differs"] for d in verdict.outputs]))
    if verdict.same:
        return 0
    print(f"\n{verdict.first}")
    return 1
