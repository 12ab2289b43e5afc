"""The arguments that say which model, and how it is compiled: shared by every command that takes a model.

edgec run model.onnx --bind N=1 --shape image=1x3x224x224 --target aarch64 -O2
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from edgec.errors import ModelError


def add_model_arguments(parser: argparse.ArgumentParser, state: bool = True) -> None:
    """MODEL, --shape, --bind, --requant, --ops and, unless told otherwise, --state."""
    parser.add_argument("model", metavar="MODEL", help="an ONNX or .tflite file")
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT=1x3x8x8",
                        help="the shape of an input; a range is 1..8, several to choose from stand with commas between them")
    parser.add_argument("--bind", action="append", default=[], metavar="N=1",
                        help="the size or range 1..8 of a named open dimension, or of a number that data decides")
    if state:
        add_state_argument(parser)
    add_reader_arguments(parser)


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """--state."""
    parser.add_argument("--state", action="append", default=[], metavar="IN=OUT",
                        help="keep an input between calls, from the output of the call before: in context.state, zeros at first")


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """--requant and --ops."""
    parser.add_argument("--requant", default="", choices=["tflite"],
                        help="the arithmetic of quantized .tflite models: bit for bit that of TFLite's reference kernels "
                        "(default: exact sums, scaled in f32 as ONNX says)")
    parser.add_argument("--ops", action="append", default=[], metavar="FILE", help="a Python file with operators of your own")


def add_compile_arguments(parser: argparse.ArgumentParser) -> None:
    """How the model is compiled: the keyword parameters of `edgec.compile`."""
    parser.add_argument(
        "--target", default="native", metavar="TARGET", help="the machine to compile for, see `edgec targets` (default: native)"
    )
    parser.add_argument("--passes", action="append", default=[], metavar="FILE", help="a Python file with passes of your own")
    parser.add_argument(
        "--without", default="", metavar="PASS,...",
        help="program passes to leave out: bands, chain, views, stages, winograd, pack_operands, sequences"
    )
    parser.add_argument("--no-winograd", action="store_true", help="the same as --without winograd: convolutions as sums of products")
    parser.add_argument(
        "--max-flash-growth",
        type=float,
        metavar="X",
        help="how many times the model's bytes its weights may take; Winograd wants 2 to 7 (default: the target's, 1 with -Os)",
    )
    parser.add_argument(
        "-O", dest="optimize", default="3", choices=["0", "1", "2", "3", "s"], help="speed 0 to 3, or s for size (default: 3)"
    )
    parser.add_argument(
        "--precision",
        default="f32",
        choices=["f32", "bf16", "f16"],
        help="operands of convolutions and matrix products; all else stays f32, and so do their sums (default: f32)",
    )
    parser.add_argument(
        "--weights",
        default="packed",
        choices=["packed", "f32"],
        help="weights in few bits stay so and are decoded where they are read, or become floats in the object (default: packed)",
    )
    parser.add_argument("--schedules", type=Path, metavar="FILE", help="use schedules that `edgec tune` measured")
    parser.add_argument(
        "--string-bytes", type=positive, metavar="N",
        help="the most bytes of a string of the inputs (default: 64; of `edgec run`, those of the longest given)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that compile kernels (default: one a processor; 0: this one)")
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("edgec"),
        metavar="FOLDER",
        help="keep compiled kernels here and take them from here (default: %(default)s)",
    )
    parser.add_argument("--no-cache", dest="cache", action="store_const", const=None, help="compile every kernel anew")


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """`shapes`, `bind`, `requant` and `ops` as `edgec.load` takes them; ModelError for what is given twice."""
    from edgec.onnx.shapes import parse_bind, parse_shape

    return {"shapes": _by_name(map(parse_shape, arguments.shape), "--shape"), "bind": _by_name(map(parse_bind, arguments.bind), "--bind"),
            "requant": arguments.requant, "ops": tuple(arguments.ops)}


def state_option(arguments: argparse.Namespace) -> dict[str, str]:
    """`state` as `edgec.compile` takes it; ModelError for an input that is given twice."""
    from edgec.persistent_state import parse_state

    return _by_name(map(parse_state, arguments.state), "--state")


def compile_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The other keyword parameters of `edgec.compile`."""
    return {
        "target": arguments.target,
        "passes": tuple(arguments.passes),
        "without": tuple(filter(None, arguments.without.split(","))) + (("winograd",) if arguments.no_winograd else ())
        + (("packed",) if arguments.weights == "f32" else ()),
        "max_flash_growth": arguments.max_flash_growth,
        "optimize": arguments.optimize,
        "precision": arguments.precision,
        "schedules": arguments.schedules,
        "workers": arguments.workers,
        **({"string_bytes": arguments.string_bytes} if arguments.string_bytes else {}),
        "cache": arguments.cache,
    }


def load_model(arguments: argparse.Namespace) -> Any:
    """The graph of the model that the arguments name."""
    graph, *others = load_models(arguments)
    if others:
        raise ModelError("several shapes of one input are for `edgec compile`", hint="give one, or a range as input=1..8x3x224x224")
    return graph


def load_models(arguments: argparse.Namespace) -> list[Any]:
    """The graph of the model that the arguments name, for each of the shapes they give."""
    from edgec.model_file import load
    from edgec.persistent_state import with_state
    from edgec.several_shapes import one_by_one

    options = model_options(arguments)
    found = [load(arguments.model, **options | {"shapes": each}) for each in one_by_one(options["shapes"])]
    return [with_state(graph, state_option(arguments)) for graph in found]


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _by_name(pairs: Any, option: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ModelError(f"{option} gives '{name}' twice, as {found[name]} and as {value}")
        found[name] = value
    return found
