"""Weights in 4 bits against 8: writes the table of docs/quantization.md between its marks `weights`.

    python docs/measure_weights.py mlperf_kws_dscnn fsdd_tcn ...      # models of ../shared/models; rows of others stay
    python docs/measure_weights.py                                    # all of MODELS

Every network is compiled and run here on the samples of docs/quantization_data.py, those that calibrate apart from those that judge. A cell
is the signal to noise of all outputs, in dB, and, where the data has labels, the share of samples with the same class as in f32. Weights
are bytes of constants in the object for a Cortex-M4.
"""

from __future__ import annotations

import argparse
import re
import runpy
from pathlib import Path
from typing import Any, Callable

import numpy as np
from platformdirs import user_cache_path

from edgec.backends.inspect_object import section_sizes
from edgec.compiler import compile
from edgec.graph import Graph
from edgec.onnx_reader import load
from edgec.quantize import quantize
from edgec.quantize.weight_only import weight_only

HERE = Path(__file__).resolve().parent
PAGE, MODELS_FOLDER = HERE / "quantization.md", HERE.parents[1] / "shared" / "models"
BEGIN, END = "<!-- weights: begin -->\n", "<!-- weights: end -->"
MODELS = ("hand_keypoint", "mlperf_kws_dscnn", "fsdd_tcn", "fsdd_gru2", "fsdd_transformer", "mlperf_ic_resnet8", "mlperf_vww_mbv1_025",
          "mlperf_ad_autoencoder", "tinymaix_mbnet128_025", "ultraface_slim320", "fastestdet_352", "dtln_1", "dtln_2", "silero_vad_16k")
METHODS: dict[str, Callable[[Graph, Any], Graph]] = {
    "W8A8": lambda graph, calib: quantize(graph, calib).graph,
    "W4 nearest": lambda graph, calib: weight_only(graph, calib, weights="int4").graph,
    "W4 AdaRound": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="adaround").graph,
    "W4 GPTQ": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="gptq").graph,
    "W4 GPTQ, blocks of 16": lambda graph, calib: weight_only(graph, calib, weights="int4", rounding="gptq", block=16).graph,
    "codebook of 16, GPTQ": lambda graph, calib: weight_only(graph, calib, weights="codebook:16", rounding="gptq").graph,
}
SIZED = "W4 GPTQ"
CALIBRATES, JUDGES = 64, 400  # samples at most
CACHE = user_cache_path("edgec")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    for model in parser.parse_args().models:
        line = row(model)
        print(line, flush=True)
        _put(model, line)
    return 0


def row(model: str) -> str:
    """One line of the table."""
    graph = load(MODELS_FOLDER / f"{model}.onnx")
    run = _runner(graph)
    task = runpy.run_path(str(HERE / "quantization_data.py"))["task"](model, run)
    calib, judged = _some(task.calib, CALIBRATES), _some(task.inputs, JUDGES)
    labelled = task.labels is not None
    exact = list(map(run, judged))
    cells, sizes = [], [_constants(graph)]
    for name, method in METHODS.items():
        made = method(graph, calib)
        cells.append(_quality(exact, list(map(_runner(made), judged)), labelled))
        sizes += [_constants(made)] if name == SIZED else []
    return f"| {model} | {' | '.join(cells)} | {sizes[0] / 1000:,.1f} → {sizes[1] / 1000:,.1f} KB |"


def _some(samples: list, most: int) -> list:
    return samples if len(samples) <= most else [samples[n] for n in np.linspace(0, len(samples) - 1, most).astype(int)]


def _runner(graph: Graph) -> Callable[[dict], list[np.ndarray]]:
    loaded = compile(graph, cache=CACHE)
    return lambda sample: list(loaded.run(sample).values())


def _quality(exact: list, found: list, labelled: bool) -> str:
    """SQNR of all outputs together, each output weighing the same; and agreement."""
    ratios = []
    for n in range(len(exact[0])):
        e, f = (np.concatenate([a[n].ravel() for a in arrays]).astype(np.float64) for arrays in (exact, found))
        ratios.append(10 * np.log10(max(np.sum(e**2), 1e-300) / max(np.sum((f - e) ** 2), 1e-300)))
    text = f"{min(ratios):.1f}"
    if not labelled:
        return text
    same = np.mean([a[0].argmax() == b[0].argmax() for a, b in zip(exact, found)])
    return f"{text}, {100 * same:.1f} %"


def _constants(graph: Graph) -> int:
    sizes = section_sizes(compile(graph, "cortex-m4", cache=CACHE).object)
    return sum(size for name, size in sizes.items() if name.endswith("_weights"))


def _put(model: str, line: str) -> None:
    """The line in the page, in the order of MODELS."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    old, after = rest.split(END)
    lines = {found[1]: found[0] for found in re.finditer(r"^\| (\w+) \| .*\|$", old, re.M) if found[1] in MODELS} | {model: line}
    intro = old[:old.index("| model |")]
    head = f"| model | {' | '.join(METHODS)} | constants, f32 → W4 |\n|{'---|' * (len(METHODS) + 2)}\n"
    table = head + "".join(lines[name] + "\n" for name in MODELS if name in lines)
    PAGE.write_text(before + BEGIN + intro + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
