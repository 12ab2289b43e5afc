"""Make an integer model of a float one, from samples of its inputs: a standard ONNX file, for edgec and for others.

    edgec quantize model.onnx --calib calib.npz -o model_int8.onnx
    edgec quantize model.onnx --calib folder --calibrator mse --keep-float head/Conv -o model_int8.onnx
    edgec quantize model.onnx --calib calib.npz --labels classes.npy --max-drop 0.5% -o model_int8.onnx
    edgec quantize model.onnx --calib calib.npz --faster-on x86-64-v3 -o model_int8.onnx
    edgec quantize model.onnx --weight-only --weights int4 --rounding gptq --calib calib.npz -o model_w4.onnx

The calibration data is an .npz file with an array for every input, an .npy file where there is but one, or a folder of such files; the
first axis counts the samples. With a budget (--max-drop, --min-sqnr) the layers that cost most accuracy get 16 bits or stay f32 until it
holds; with --faster-on the layers that integers would make slower on a target stay f32. See docs/quantization.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgec.cli.model_arguments import add_model_arguments, model_options, positive
from edgec.cli.quantize_weights import add_weight_arguments, integer_options, round_weights, share
from edgec.cli.task_progress import task_progress

name, help = "quantize", "make an integer model of a float one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser, state=False)
    parser.add_argument("--calib", type=Path, metavar="DATA", help="samples of the inputs: .npz, .npy or a folder of them")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the ONNX file to write (default: MODEL_int8.onnx)")
    parser.add_argument("--dynamic", action="store_true", help="activations become integers by their extremes in each call: no --calib")
    parser.add_argument("--labels", type=Path, metavar="FILE.npy", help="the class of every sample, for --max-drop")
    parser.add_argument("--max-drop", type=share, metavar="0.5%%", help="accuracy that may be lost on the samples (without --labels: "
                        "share of samples whose class may change)")
    parser.add_argument("--min-sqnr", type=float, metavar="DB", help="least signal to quantization noise at the outputs, such as 30")
    parser.add_argument("--search", default="layers", choices=["layers", "ends"], help="how a budget is met: by the sensitivity of every "
                        "layer, or, much faster in large networks, by 16 bits everywhere and f32 from the ends inwards (default: layers)")
    parser.add_argument("--calibrator", default="mse", metavar="METHOD",
                        help="how ranges are chosen: minmax, moving-average, percentile, entropy, mse (default: mse)")
    parser.add_argument("--activations", default="u8", choices=["u8", "i8", "i16"], help="integers of activations (default: u8)")
    add_weight_arguments(parser)
    parser.add_argument("--granularity", default="channel", choices=["channel", "tensor"], help="weights to one scale (default: channel)")
    parser.add_argument("--asymmetric", action="store_true", help="weights get zero points")
    parser.add_argument("--scale", default="any", choices=["any", "pow2"], help="pow2: all scales are powers of two (default: any)")
    parser.add_argument("--no-bias-correction", dest="bias_correction", action="store_false",
                        help="do not take the mean error of rounding into the biases")
    parser.add_argument("--keep-float", action="append", default=[], metavar="NODE", help="a node that stays f32 (may be repeated)")
    parser.add_argument("--faster-on", metavar="TARGET",
                        help="layers that are predicted to be slower in integers than in f32 on this target stay f32 (see `edgec targets`)")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads for the float network (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    from edgec.errors import ModelError
    from edgec.model_file import load
    from edgec.quantize import quantize, quantize_within

    target = arguments.output or Path(Path(arguments.model).stem + "_int8.onnx")
    budget = {"max_drop": arguments.max_drop, "min_sqnr": arguments.min_sqnr}
    if arguments.labels and arguments.max_drop is None:
        raise ModelError("--labels says nothing without --max-drop", hint="ask for a budget: --max-drop 0.5%")
    graph = load(arguments.model, **_open_dimensions(arguments))
    if arguments.weight_only:
        return round_weights(arguments, graph)
    if arguments.dynamic:
        return _dynamic(arguments, graph, target)
    options = {**integer_options(arguments), "calibrator": arguments.calibrator, "activations": arguments.activations,
               "granularity": arguments.granularity, "symmetric": not arguments.asymmetric,
               "power_of_two": arguments.scale == "pow2", "keep_float": tuple(arguments.keep_float), "threads": arguments.threads,
               "bias_correction": arguments.bias_correction, "faster_on": arguments.faster_on}
    with task_progress() as report:
        if any(b is not None for b in budget.values()):
            mixed = quantize_within(graph, arguments.calib, arguments.labels, progress=report, search=arguments.search, **budget, **options)
            made = mixed.quantized
        else:
            mixed, made = None, quantize(graph, arguments.calib, progress=report, **options)
    made.save(target)
    if mixed:
        _tell(mixed, bool(arguments.labels))
    _tell_speed(made.predicted, arguments.faster_on)
    print(f"{target}  {target.stat().st_size:,} bytes, the float model has {Path(arguments.model).stat().st_size:,}")
    layers = made.recipe.layers
    print(f"{len(layers)} convolutions and matrix products, {len(made.recipe.quantized) - len(layers)} other operators on integers")
    return 0


def _dynamic(arguments: argparse.Namespace, graph: Any, target: Path) -> int:
    """Write the network whose activations are quantized as it runs."""
    from edgec.errors import ModelError
    from edgec.quantize.dynamic import dynamic, save
    if arguments.calib or arguments.max_drop is not None or arguments.min_sqnr is not None:
        raise ModelError("--dynamic looks at no data", hint="leave out --calib and the budget")
    made = dynamic(graph, keep_float=tuple(arguments.keep_float), per_channel=arguments.granularity == "channel")
    save(made, target)
    print(f"{target}  {target.stat().st_size:,} bytes, the float model has {Path(arguments.model).stat().st_size:,}")
    return 0


def _tell(mixed: Any, labelled: bool) -> None:
    """The table of layers, and the quality on the samples."""
    from edgec.cli.text_table import text_table
    activations = {8: "8", 16: "16", 32: "f32"}
    print(text_table(["layer", "operator", "SQNR alone, dB", "bits", "cost"],
                     [[r.name, r.operator, "" if r.sqnr is None else round(min(r.sqnr, 999.0), 1), activations[r.level], r.cost]
                      for r in mixed.rows]))
    told = "accuracy lost" if labelled else "other decisions (there are no labels)"
    print(f"on the samples: SQNR {mixed.quality.sqnr:.1f} dB, {told} {100 * mixed.quality.drop:.2f} %")


def _tell_speed(predicted: Any, target: str | None) -> None:
    """The table of estimated cycles, and which layers stay f32 for their sake."""
    if not predicted:
        return
    from edgec.cli.text_table import text_table
    print(text_table(["layer", "cycles in integers", "cycles in f32", "stays"],
                     [[p.name, round(p.integer_cycles), round(p.float_cycles), "f32" if p.is_slower else "integers"] for p in predicted]))
    print(f"{sum(p.is_slower for p in predicted)} of {len(predicted)} layers are predicted to be faster in f32 on {target}")


def _open_dimensions(arguments: argparse.Namespace) -> dict[str, Any]:
    """The sizes that are given; a named open dimension without one stays open, and is 1 for calibration."""
    from edgec.model_file import is_tflite
    from edgec.onnx.reader import open_names
    options = model_options(arguments)
    given = {**options["bind"]}
    known = options["shapes"] or is_tflite(arguments.model)
    names = [] if known else [n for n in open_names(arguments.model) if n not in given]
    return {**options, "bind": {**dict.fromkeys(names, "1..2"), **given}}
