"""Say whether a model can be compiled: every operator that cannot, all at once. Nothing is compiled.

edgec check model.onnx --target cortex-m4
"""

from __future__ import annotations

import argparse

from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, compile_options, load_model

name, help = "check", "say whether a model can be compiled, and what stands in the way"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from edgec.compiler import lower, machine_for, optimise_graph
    from edgec.errors import Unsupported, raise_all
    from edgec.graph import Constant, Input

    options = compile_options(arguments)
    target = machine_for(options["target"], options["optimize"], options["max_flash_growth"])
    graph = optimise_graph(load_model(arguments), target, passes=arguments.passes, precision=arguments.precision)
    raise_all(
        [
            Unsupported(f"{type(op).__name__} runs in the interpreter only", loc=op.loc)
            for op in graph.ops
            if not isinstance(op, (Input, Constant)) and not any(hasattr(op, way) for way in ("lower", "update", "recurrence", "loops"))
        ]
    )
    program = lower(graph, target, without=options["without"])
    print(f"{arguments.model}: {len(program.steps)} kernels, {program.arena_bytes:,} bytes of arena")
    return 0
