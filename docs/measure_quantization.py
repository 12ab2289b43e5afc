"""What `edgec quantize` costs in accuracy: writes the table of docs/quantization.md between its marks `accuracy`.

    python docs/measure_quantization.py [--keep FOLDER] [MODEL ...]         # of ../shared/models; default: all with data

Every model is quantized with the defaults; one without labels that comes out below LEAST dB and MARGIN more, or below the file of
onnxruntime's static quantization in ../shared/peers and MARGIN more, on the samples that calibrate, is quantized again with that as its
budget. All are judged by onnxruntime on samples that calibrated nothing and chose nothing. Results are kept in docs/quantization.json, so that single models can be measured again. Needs onnxruntime and Pillow.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from quantization_data import MODELS, SHARED, Sample, Task, speech_frames, task

from edgec.errors import CompileError
from edgec.quantize import quantize, quantize_within
from edgec.quantize.mixed import SEARCHES
from edgec.quantize.quality import agreement, classes, sqnr

HERE = Path(__file__).resolve().parent
PAGE, RESULTS = HERE / "quantization.md", HERE / "quantization.json"
BEGIN, END = "<!-- accuracy: begin -->\n", "<!-- accuracy: end -->"
LEAST = 25.0  # dB, where there are no labels
AGREES, DROPS = 0.005, 0.003  # shares: agreement less than theirs, accuracy less than in f32
SAME = 0.99  # share of frames, at least, that speech is found in as by the float model
SURE = 0.995  # of the frames a mixture is chosen by: SAME and one standard error
CHOOSING = 625  # frames, 20 s, of the speech by which a mixture is chosen; the rest judges
MARGIN = 2.0  # dB that the budget on calibration samples lies above what is wanted on others

TEXT = """\
## What it costs in accuracy

Written by [measure_quantization.py](measure_quantization.py), judged by onnxruntime {version} on samples that calibrated nothing (which,
and where from, says [quantization_data.py](quantization_data.py)). *theirs* is onnxruntime's static QDQ quantization of the same model
(per-channel, min-max) on the same samples; *agree* is the share of samples with the same class as the f32 model. A model with numbers
under *mixed* was quantized with a budget on the samples that calibrate, {least:.0f} dB or what *theirs* has and {margin:.0f} dB more
(fastestdet by `--search ends`); its operators at 8 bits, 16 bits and in f32 are counted.

{table}

*wanted*, and whether it is met: where there are labels, a drop of 0.3 points or one standard error of the paired difference at most, and
no more than 0.5 points less agreement than *theirs*; elsewhere 25 dB, and what *theirs* has.

{silero}
"""


def runner(model: Any) -> Callable[[Sample], list[np.ndarray]]:
    """A function that runs a model file or ModelProto by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 2
    session = onnxruntime.InferenceSession(str(model) if isinstance(model, Path) else model.SerializeToString(), options)
    return lambda sample: session.run(None, sample)


def measured(name: str, keep: Path | None, search: str = "layers") -> dict[str, Any]:
    """Everything the table says about one model; `search` is how a budget is met."""
    path, peer = SHARED / "models" / f"{name}.onnx", SHARED / "peers" / f"{name}_ort_minmax.onnx"
    f32 = runner(path)
    given = task(name, f32)
    exact = [f32(x) for x in given.inputs]
    theirs = [run(x) for run in [runner(peer)] for x in given.inputs] if peer.exists() else None
    floor = max(LEAST, sqnr(exact, theirs) if theirs else 0.0)
    found: dict[str, Any] = {"samples": len(given.inputs), "calib": len(given.calib)}
    start = time.process_time()
    made, mixed = quantize(path, given.calib), None
    found["seconds"] = round(time.process_time() - start, 1)
    ours = [run(x) for run in [runner(made.model)] for x in given.inputs]
    found["plain_sqnr"] = sqnr(exact, ours)
    speech = name.startswith("silero")
    before = [f32(x) for x in given.calib]

    def holds(made: Any) -> bool:
        """Whether a network is good enough on the samples that calibrate: nothing is chosen by those that judge."""
        after = [run(x) for run in [runner(made.model)] for x in given.calib]
        same = decisions(f32, {"": runner(made.model)}, slice(0, CHOOSING))["_decisions"] if speech else 1.0
        return sqnr(before, after) >= floor + MARGIN and same >= SURE
    aim = max(floor, sqnr(before, [run(x) for run in [runner(made.model)] for x in given.calib])) + MARGIN
    while given.labels is None and not holds(made):
        mixed = quantize_within(path, given.calib, min_sqnr=aim, search=search)
        made, aim = mixed.quantized, aim + MARGIN
    ours = [run(x) for run in [runner(made.model)] for x in given.inputs]
    both = {"ours": runner(made.model), "theirs": runner(peer)} if speech else {}
    voice = decisions(f32, both, slice(CHOOSING, None)) if speech else {}
    found["levels"] = {str(b): sum(r.level == b for r in mixed.rows) for b in (8, 16, 32)} if mixed else {}
    found["search"] = search if mixed else ""
    if keep:
        made.save(keep / f"{name}_int8.onnx")
    found |= quality("ours", exact, ours, given) | (quality("theirs", exact, theirs, given) if theirs else {})
    return found | voice


def quality(whose: str, exact: list, ours: list, given: Task) -> dict[str, float]:
    """SQNR, and where there are classes their agreement and accuracy."""
    found = {f"{whose}_sqnr": sqnr(exact, ours)}
    if exact[0][0].ndim == 2 and exact[0][0].shape[1] > 1 and exact[0][0].shape[1] < 600 or given.labels is not None:
        found[f"{whose}_agree"] = agreement(exact, ours)
    if given.labels is not None:
        right, before = classes(ours) == given.labels, classes(exact) == given.labels
        change = before.astype(int) - right
        found |= {"f32_top1": before.mean(), f"{whose}_top1": right.mean(),
                  f"{whose}_error": float(change.std(ddof=1) / np.sqrt(len(change)))}
    return found


def decisions(f32: Callable, others: dict[str, Callable], part: slice) -> dict[str, float]:
    """Voice detected or not, frame by frame, every model with the state of its own: shares that agree with the float one, in a part."""
    def run(model: Callable) -> np.ndarray:
        state, found = np.zeros((2, 1, 128), np.float32), []
        for frame in speech_frames()[part]:
            probability, state = model({"input": frame, "state": state})
            found.append(probability.item() > 0.5)
        return np.array(found)
    exact = run(f32)
    return {f"{name}_decisions": float((run(model) == exact).mean()) for name, model in others.items()}


HEAD = ("| model | f32 | int8 | drop (error) | agree | theirs: top1, agree | SQNR, dB | theirs | mixed: 8, 16, f32 | wanted |\n"
        "|---|---|---|---|---|---|---|---|---|---|")


def wanted(r: dict[str, Any]) -> str:
    """What is wanted of a model, and whether it is met."""
    if "f32_top1" in r:
        drop, agree = max(DROPS, r["ours_error"]), r["theirs_agree"] - AGREES
        held = r["f32_top1"] - r["ours_top1"] <= drop and r["ours_agree"] >= agree
        return f"drop ≤ {100 * drop:.2f}, agree ≥ {100 * agree:.2f}: {_told(held)}"
    least = max(LEAST, r.get("theirs_sqnr", LEAST))
    frames = "ours_decisions" in r
    held = r["ours_sqnr"] >= least and (not frames or r["ours_decisions"] >= SAME)
    return f"{least:.1f} dB{', 99 % of frames' * frames}: {_told(held)}"


def _told(held: bool) -> str:
    return "yes" if held else "**no**"


def row(name: str, r: dict[str, Any]) -> str:
    """One line of the table."""
    def percent(key: str, digits: int = 2) -> str:
        return f"{100 * r[key]:.{digits}f}" if key in r else ""
    drop = f"{100 * (r['f32_top1'] - r['ours_top1']):.2f} ({100 * r['ours_error']:.2f})" if "f32_top1" in r else ""
    theirs = ", ".join(filter(None, (percent("theirs_top1"), percent("theirs_agree"))))
    mixed = ", ".join(str(r["levels"][bits]) for bits in ("8", "16", "32")) if r["levels"] else ""
    other = f"{r['theirs_sqnr']:.1f}" if "theirs_sqnr" in r else ""
    return (f"| {name} | {percent('f32_top1')} | {percent('ours_top1')} | {drop} | {percent('ours_agree')} | {theirs} | "
            f"{r['ours_sqnr']:.1f} | {other} | {mixed} | {wanted(r)} |")


def page(results: dict[str, Any]) -> str:
    """The section of the page."""
    silero = results.get("silero_vad_16k", {})
    told = ("Silero, fed 40 s of speech frame by frame with its own state (20 s before chose the mixture), decides as the float model on\n"
            f"{100 * silero['ours_decisions']:.2f} % of the frames (theirs {100 * silero['theirs_decisions']:.2f} %)." if silero else "")
    table = "\n".join([HEAD, *(row(name, results[name]) for name in MODELS if name in results)])
    return TEXT.format(version=onnxruntime.__version__, least=LEAST, margin=MARGIN, table=table, silero=told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--search", default="layers", choices=SEARCHES, help="how budgets are met; ends: where layers take too long")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from what was measured before")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the quantized models there")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.page:
        return _write(results)
    for name in arguments.models or MODELS:
        try:
            results[name] = measured(name, arguments.keep, arguments.search)
        except CompileError as error:
            parser.error(f"{name}: {error}")
        print(row(name, results[name]), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        _write(results)


def _write(results: dict[str, Any]) -> None:
    """The section in the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + BEGIN + page(results) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
