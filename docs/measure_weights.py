"""Weights in 4 bits against 8: writes the table of docs/quantization.md between its marks `weights`.

    python docs/measure_weights.py mlperf_kws_dscnn fsdd_tcn ...      # models of ../shared/models; rows of others stay
    python docs/measure_weights.py                                    # all of MODELS

Samples are those of docs/quantization_data.py, those that calibrate (of pictures as many more crops) apart from those that judge;
onnxruntime judges. A cell is the signal to noise in dB of the output that has least and, where the data has labels, the share of samples
with the same class as in f32. Bytes are those of constants in the object for a Cortex-M4. Results are kept in docs/weights.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnxruntime
from platformdirs import user_cache_path
from quantization_data import SHARED, more_pictures, task

from edgec.backends.inspect_object import section_sizes
from edgec.compiler import compile
from edgec.graph import Graph
from edgec.onnx_reader import load
from edgec.onnx_writer import model_proto
from edgec.quantize import quantize
from edgec.quantize.weight_only import weight_only

HERE = Path(__file__).resolve().parent
PAGE, RESULTS = HERE / "quantization.md", HERE / "weights.json"
BEGIN, END = "<!-- weight table: begin -->\n", "<!-- weight table: end -->"
MODELS = ("mlperf_kws_dscnn", "fsdd_tcn", "fsdd_gru2", "fsdd_transformer", "mlperf_ad_autoencoder", "mlperf_vww_mbv1_025",
          "mlperf_ic_resnet8", "tinymaix_mbnet128_025", "mobilenetv2_100_224_ptqw8", "ultraface_slim320", "fastestdet_352",
          "silero_vad_16k", "dtln_1", "dtln_2")  # those of ../shared with 20,000 weights and more
METHODS: dict[str, Callable[[Graph, Any], Graph]] = {
    "W8A8": lambda graph, calib: quantize(graph, calib).graph,
    "nearest": lambda graph, calib: weight_only(graph, calib, weights="int4").graph,
    "AdaRound": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="adaround").graph,
    "GPTQ": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="gptq").graph,
    "GPTQ, blocks of 16": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="gptq", block=16).graph,
    "codebook of 16, GPTQ": lambda graph, calib: weight_only(graph, calib, weights="codebook:16", rounding="gptq").graph,
}
BYTES = ("GPTQ", "GPTQ, blocks of 16", "codebook of 16, GPTQ")
CALIBRATES, JUDGES = 128, 200  # samples at most
NEAR, SAME = 3.0, 97.0  # what is wanted: dB below W8A8 at most, % of samples with the same class at least
CACHE = user_cache_path("edgec")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--no-bytes", action="store_true", help="keep the bytes of the last run: they take compiling")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for model in arguments.models:
        found = measured(model, sizes=not arguments.no_bytes)
        results[model] = {"bytes": results.get(model, {}).get("bytes", {})} | found
        print(line(model, results[model]), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        _put(results)
    return 0


def measured(model: str, sizes: bool) -> dict[str, Any]:
    """What the table says about one model."""
    path = SHARED / "models" / f"{model}.onnx"
    graph, run = load(path), _runner(path)
    given = task(model, run)
    calib, judged = _some([*given.calib, *more_pictures(model)], CALIBRATES), _some(given.inputs, JUDGES)
    exact = list(map(run, judged))
    found: dict[str, Any] = {"calib": len(calib), "judged": len(judged), "sqnr": {}, "same": {}}
    bytes_of = {"f32": _constants(graph)} if sizes else {}
    for name, method in METHODS.items():
        made = method(graph, calib)
        ours = list(map(_runner(made), judged))
        found["sqnr"][name] = round(_sqnr(exact, ours), 2)
        if given.labels is not None:
            found["same"][name] = round(100 * float(np.mean([a[0].argmax() == b[0].argmax() for a, b in zip(exact, ours)])), 2)
        bytes_of |= {name: _constants(made)} if sizes and name in BYTES else {}
    return found | ({"bytes": bytes_of} if sizes else {})


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


def _constants(graph: Graph) -> int:
    sizes = section_sizes(compile(graph, "cortex-m4", optimize="1", cache=CACHE).object)
    return sum(size for name, size in sizes.items() if name.endswith("_weights"))


def line(model: str, r: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [f"{r['sqnr'][name]:.1f}" + (f", {r['same'][name]:.1f} %" if r["same"] else "") for name in METHODS]
    learnt = [name for name in METHODS if name not in ("W8A8", "nearest")]
    if r["same"]:
        met = "yes" if (best := max(r["same"][n] for n in learnt)) >= SAME else f"no: {best:.1f} %"
    else:
        short = r["sqnr"]["W8A8"] - max(r["sqnr"][n] for n in learnt) - NEAR
        met = "yes" if short <= 0 else f"{short:.1f} dB short"
    sizes = " / ".join(f"{r['bytes'][n] / 1000:,.1f}" for n in ("f32", *BYTES)) if r["bytes"] else ""
    return f"| {model} | {' | '.join(cells)} | {met} | {sizes} |"


def _put(results: dict[str, Any]) -> None:
    """The table in the page, in the order of MODELS."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    head = f"| model | {' | '.join(METHODS)} | wanted | KB: f32 / GPTQ / in blocks / codebook |\n|{'---|' * (len(METHODS) + 3)}\n"
    table = head + "".join(line(name, results[name]) + "\n" for name in MODELS if name in results)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
