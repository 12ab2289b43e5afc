"""Run a model, compiled or (with --interpret) in numpy. The arrays are those of the graph's inputs and outputs, under their names.

    edgec run model.onnx --inputs in.npz --outputs out.npz
    edgec run model.onnx --inputs in.npz --target cortex-m4          # under emulation
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgec.cli.delayed_progress import delayed_progress
from edgec.cli.model_arguments import (
    add_compile_arguments,
    add_model_arguments,
    compile_options,
    load_model,
    model_options,
    positive,
    state_option,
)
from edgec.errors import CompileError, Unsupported

name, help = "run", "run a model on arrays from a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="the input arrays by name")
    parser.add_argument("--outputs", type=Path, metavar="FILE.npz", help="where the output arrays go (default: a summary is printed)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads that large kernels are shared among (default: 1)")
    parser.add_argument("--link", action="append", default=[], metavar="FILE",
                        help="a shared library, or a C source, with functions that operators of --ops call")
    parser.add_argument("--interpret", action="store_true", help="run the model in numpy instead of compiling it")


def run(arguments: argparse.Namespace) -> int:
    from edgec.array_file import arrays_bytes
    from edgec.backends.artifact import write_files
    from edgec.persistent_state import first_states
    arrays = _arrays(arguments.inputs)
    graph = _graph(arguments, arrays)
    inputs = first_states(graph) | typed_arrays(graph, arrays)
    outputs = _interpreted(graph, inputs) if arguments.interpret else _compiled_somehow(arguments, graph, inputs)
    if arguments.outputs:
        write_files({arguments.outputs: arrays_bytes(outputs)})
    else:
        for output, array in outputs.items():
            print(f"{output}: {array.dtype}{list(array.shape)}")
            print(np.array2string(array, threshold=40, edgeitems=3, precision=6))
    return 0


def _arrays(path: Path | None) -> dict[str, np.ndarray]:
    from edgec.array_file import read_arrays
    return read_arrays(path) if path else {}


def _graph(arguments: argparse.Namespace, arrays: Mapping[str, np.ndarray]) -> Any:
    """The graph of the model as it is, else, where that leaves sizes open, of the model for these very arrays."""
    from edgec.onnx.specialise import load_for
    from edgec.persistent_state import with_state
    try:
        return load_model(arguments)
    except CompileError:
        if not arrays:
            raise
        return with_state(load_for(arguments.model, arrays, **model_options(arguments)), state_option(arguments))


def input_arrays(graph: Any, path: Path | None) -> dict[str, np.ndarray]:
    """The arrays of a file for the inputs of a graph."""
    return typed_arrays(graph, _arrays(path))


def typed_arrays(graph: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays as the element types of the inputs they are for; the length of a sequence is no input, others are refused later."""
    from edgec.array_file import as_type
    dtypes = {v.name: v.dtype for v in graph.inputs}
    return {n: as_type(a, dtypes[n]) if n in dtypes else a for n, a in arrays.items() if n in dtypes or not n.endswith("#len")}


def _interpreted(graph: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from edgec.interpreter import interpret
    from edgec.passes.integers import integer_form
    with delayed_progress("interpreting"):
        return interpret(integer_form(graph), inputs)


def _compiled_somehow(arguments: argparse.Namespace, graph: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The results of compiled code; where sizes that data decides cannot be compiled, of code for these very arrays."""
    from edgec.onnx.specialise import has_sizes, load_for
    from edgec.persistent_state import with_state
    try:
        return _compiled(arguments, graph, inputs)
    except Unsupported:
        if not inputs or not has_sizes(graph):
            raise
    made = load_for(arguments.model, inputs, sizes=False, **model_options(arguments))
    return _compiled(arguments, with_state(made, state_option(arguments)), inputs)


def _compiled(arguments: argparse.Namespace, graph: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from edgec.backends.external import link
    from edgec.compiler import compile
    from edgec.named_arrays import as_bytes
    from edgec.text_slots import longest
    with delayed_progress(f"compiling {arguments.model}") as report:
        artifact = compile(graph, progress=report, **{"string_bytes": longest(inputs.values()), **compile_options(arguments)})
    link(arguments.link)
    with delayed_progress("running"):
        return artifact.run(as_bytes(inputs), threads=arguments.threads)
