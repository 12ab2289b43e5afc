"""Weights in 4 bits against 8: writes the table of docs/quantization.md between its marks `weights`.

    python docs/measure_weights.py mlperf_kws_dscnn fsdd_tcn ...      # models of ../shared/models; rows of others stay
    python docs/measure_weights.py                                    # all of MODELS

Samples are those of docs/quantization_data.py (of pictures more crops), those that calibrate apart from those that judge; onnxruntime
judges. A cell is the signal to noise in dB of the output that has least and, where the data has labels, the share of samples with the same
class as in f32. Where there are none, the share of 4-bit weights follows from a budget: what W8A8 has on the samples that calibrate, less
NEAR, and MARGIN more. Nothing is chosen by samples that judge. Results are kept in docs/weights.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from quantization_data import SHARED, more_pictures, task

from edgec.graph import Graph
from edgec.onnx.reader import load
from edgec.onnx.writer import model_proto
from edgec.quantize import quantize
from edgec.quantize.weight_only import HELD, weight_only

HERE = Path(__file__).resolve().parent
PAGE, RESULTS = HERE / "quantization.md", HERE / "weights.json"
BEGIN, END = "<!-- weight table: begin -->\n", "<!-- weight table: end -->"
MODELS = ("mlperf_kws_dscnn", "fsdd_tcn", "fsdd_gru2", "fsdd_transformer", "mlperf_ad_autoencoder", "mlperf_vww_mbv1_025",
          "mlperf_ic_resnet8", "tinymaix_mbnet128_025", "mobilenetv2_100_224_ptqw8", "ultraface_slim320", "fastestdet_352",
          "silero_vad_16k", "dtln_1", "dtln_2")  # those of ../shared with 20,000 weights and more
CALIBRATES, JUDGES = 128, 200  # samples at most
NEAR, SAME = 3.0, 97.0  # what is wanted: dB below W8A8 at most, % of samples with the same class at least
METHODS = ("W8A8", "nearest", "GPTQ")
MARGIN = 2.0  # dB that the budget on samples that calibrate lies above what is wanted on others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    arguments = parser.parse_args()
    for model in arguments.models:
        found = measured(model)
        results = (json.loads(RESULTS.read_text()) if RESULTS.exists() else {}) | {model: found}
        print(line(model, results[model]), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        _put(results)
    return 0


def measured(model: str) -> dict[str, Any]:
    """What the table says about one model. Which layers keep 8 bits is chosen by samples that calibrate, all else is found on others."""
    path = SHARED / "models" / f"{model}.onnx"
    graph, run = load(path), _runner(path)
    given = task(model, run)
    calib = _some([*given.calib, *more_pictures(model)], CALIBRATES)
    judged = _some([*given.inputs, *more_pictures(model, 24, seed=2)], JUDGES) if given.labels is None else _some(given.inputs, JUDGES)
    exact = list(map(run, judged))
    w8 = quantize(graph, calib).graph
    held = calib[HELD - 1::HELD]
    aim = None if given.labels is not None else _sqnr(list(map(run, held)), list(map(_runner(w8), held))) - NEAR + MARGIN
    w4 = weight_only(graph, calib, weights="int4", rounding="gptq", min_sqnr=aim)
    made = {"W8A8": w8, "nearest": weight_only(graph, weights="int4").graph, "GPTQ": w4.graph}
    count = sum(layer.weights for layer in w4.layers)
    found: dict[str, Any] = {"calib": len(calib), "judged": len(judged), "aim": aim, "sqnr": {}, "same": {}, "weights": count,
                             "in4": sum(layer.weights * (8 - layer.bits) / 4 for layer in w4.layers) / count}
    for name, each in made.items():
        ours = list(map(_runner(each), judged))
        found["sqnr"][name] = round(_sqnr(exact, ours), 2)
        if given.labels is not None:
            found["same"][name] = round(100 * float(np.mean([a[0].argmax() == b[0].argmax() for a, b in zip(exact, ours)])), 2)
    return found


def _some(samples: list, most: int) -> list:
    return samples if len(samples) <= most else [samples[n] for n in np.linspace(0, len(samples) - 1, most).astype(int)]


def _runner(model: Path | Graph) -> Callable[[dict], list[np.ndarray]]:
    """A function that runs a network by onnxruntime as it is: optimised, products of int4 weights would round their activations as well."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 2
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model_proto(model).SerializeToString(), options)
    return lambda sample: session.run(None, sample)


def _sqnr(exact: list, found: list) -> float:
    """That of the output that has least."""
    ratios = []
    for n in range(len(exact[0])):
        e, f = (np.concatenate([a[n].ravel() for a in arrays]).astype(np.float64) for arrays in (exact, found))
        ratios.append(10 * np.log10(max(np.sum(e**2), 1e-300) / max(np.sum((f - e) ** 2), 1e-300)))
    return float(min(ratios))


def line(model: str, r: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{r['sqnr'][name]:.1f}" + (f", {r['same'][name]:.1f} %" if r["same"] else "") for name in METHODS]
    short = r["sqnr"]["W8A8"] - r["sqnr"]["GPTQ"] - NEAR
    if r["same"]:
        met = "yes" if r["same"]["GPTQ"] >= SAME else f"**no**: {r['same']['GPTQ']:.1f} %"
    else:
        met = "yes" if short <= 0 else f"**no**: {short:.1f} dB short"
    aim = "" if r["aim"] is None else f"{r['aim']:.1f}"
    return f"| {model} | {r['weights']:,} | {' | '.join(cells)} | {100 * r['in4']:.0f} % | {8 - 4 * r['in4']:.2f} | {aim} | {met} |"


def _put(results: dict[str, Any]) -> None:
    """The table in the page, in the order of MODELS."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    columns = ("model", "weights", *METHODS, "in 4 bits", "bits a weight", "budget", "wanted")
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    table = head + "".join(line(name, results[name]) + "\n" for name in MODELS if name in results)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
