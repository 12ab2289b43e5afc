"""The argument --size: how large the drawn inputs of a model with open dimensions are.

    edgec verify model.onnx --bind N=1..8 --size N=4
"""

from __future__ import annotations

import argparse
from typing import Any

from edgec.errors import ModelError


def add_size_argument(parser: argparse.ArgumentParser) -> None:
    """--size."""
    parser.add_argument("--size", action="append", default=[], metavar="N=4",
                        help="draw inputs with this size of an open dimension, or this number where an input is a size "
                        "(default: the largest)")


def size_option(arguments: argparse.Namespace, graph: Any = None) -> dict[str, int]:
    """`sizes` as `drawn_inputs` takes them; ModelError for what is no number, or, given the graph, names nothing in it."""
    found: dict[str, int] = {}
    for text in arguments.size:
        name, _, number = text.partition("=")
        if not name or not number.isdigit():
            raise ModelError(f"cannot read --size {text}", hint="write it as N=4")
        found[name] = int(number)
    if graph is not None:
        from edgec.drawn_inputs import require_sizes
        require_sizes(graph, found)
    return found
