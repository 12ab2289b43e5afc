"""What `edgec quantize` says about weights: their kind, how they are rounded, and networks of which only the weights are rounded.

    edgec quantize model.onnx --weight-only --weights int4 --rounding gptq --calib calib.npz -o model_w4.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgec.cli.task_progress import task_progress
from edgec.errors import ModelError

EIGHT = 0.05  # as edgec.quantize.weight_only has it, which is not imported before it is needed


def share(text: str) -> float:
    """The type of an argument like 0.5% or 0.005."""
    number = text.removesuffix("%")
    try:
        return float(number) / (100 if number != text else 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write it as 0.5%") from None


def add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of weights."""
    parser.add_argument("--weights", default="int8", metavar="KIND",
                        help="int8 or int4; with --weight-only also int3, int2 and codebook:N (default: int8)")
    parser.add_argument("--rounding", default="nearest", choices=["nearest", "adaround", "gptq"], help="of the weights (default: nearest)")
    parser.add_argument("--equalize", default="none", choices=["none", "cross-layer", "smooth", "both"],
                        help="move scales of channels into the next products where the samples show that it helps (default: none)")
    parser.add_argument("--weight-only", action="store_true", help="activations and arithmetic stay f32; --calib may be left out")
    parser.add_argument("--block", type=int, default=0, metavar="N",
                        help="with --weight-only: inputs of a matrix product that share a scale (default: 0, all)")
    parser.add_argument("--eight-bits", type=share, default=EIGHT, metavar="5%%",
                        help="with --weight-only and a --rounding by data: share of the weights, smallest layers first, that gets 8 bits "
                             "where fewer are asked for; with --min-sqnr, as many outputs of the others as it takes (default: 5%%)")


def integer_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of `edgec.quantize.quantize`; ModelError for what only --weight-only has."""
    from edgec.quantize.rounding import rounding_method

    if arguments.calib is None:
        raise ModelError("an integer network needs samples of the inputs", hint="give --calib DATA, or --weight-only")
    if arguments.weights not in ("int8", "int4") or arguments.block:
        what = f"weights in blocks of {arguments.block}" if arguments.block else f"'{arguments.weights}' weights"
        raise ModelError(f"an integer network has no {what}", hint="choose int8 or int4, or add --weight-only")
    return {"weight_bits": int(arguments.weights[3:]), "rounding": rounding_method(arguments.rounding), "equalize": arguments.equalize}


def round_weights(arguments: argparse.Namespace, graph: Any) -> int:
    """Write the network with weights in few bits, and print a table of what became of each layer."""
    from edgec.cli.text_table import text_table
    from edgec.quantize.weight_only import weight_only

    if arguments.max_drop is not None:
        raise ModelError("--max-drop chooses the bits of activations, which --weight-only leaves alone", hint="ask for --min-sqnr")
    target = arguments.output or Path(f"{Path(arguments.model).stem}_{arguments.weights.replace(':', '')}.onnx")
    with task_progress() as report:
        made = weight_only(graph, arguments.calib, weights=arguments.weights, block=arguments.block, rounding=arguments.rounding,
                           power_of_two=arguments.scale == "pow2", keep_float=tuple(arguments.keep_float), equalize=arguments.equalize,
                           eight=arguments.eight_bits, min_sqnr=arguments.min_sqnr, progress=report)
    made.save(target)
    rows = [(each.name, each.weights, each.bits, each.signal_to_noise) for each in made.layers]
    print(text_table(("layer", "weights", "bits", "SNR (dB)"), rows))
    print(_told(made))
    print(f"{target}  {target.stat().st_size:,} bytes, the float model has {Path(arguments.model).stat().st_size:,}")
    return 0


def _told(made: Any) -> str:
    """Bits of a weight on average, and what was measured for a budget."""
    count = sum(each.weights for each in made.layers)
    bits = sum(each.weights * each.bits for each in made.layers) / max(1, count)
    budget = "" if made.sqnr is None else f"; on samples that were held back: SQNR {made.sqnr:.1f} dB"
    return f"{bits:.2f} bits a weight, without scales{budget}"
