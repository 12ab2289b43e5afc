"""Writes docs/benchmarks.md from the numbers in docs/benchmarks.json: tables only, nothing is measured here.

    Path("docs/benchmarks.md").write_text(page(json.loads(Path("docs/benchmarks.json").read_text())))
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec.bench.intervals import geometric_mean
from edgec.bench.result import BenchResult, Row, result_of

PEERS = ("onnxruntime", "openvino", "ncnn", "mnn", "litert")
OURS, CALL, OURS16, PEER16 = "edgec", "edgec, C call", "edgec-bf16", "openvino-bf16"
VARIANTS = ("_b8", "_160", "_320")
RECURRENT = ("lstm", "gru")
INTEGERS = [
    "The same models quantized from the same drawn samples: by `edgec quantize`, by onnxruntime's static quantizer (u8 activations, i8 weights",
    "per channel), by NNCF for OpenVINO, and LiteRT's files. Here ✗ means that outputs differ from those of the f32 network, not from edgec's,",
    "by more than 30 % of the largest: each tool chooses scales of its own, and random weights are harder to round than trained ones.",
    "*Of peak* is the share of the f32 multiply-add rate.",
    "",
]
LIMITS = (1.0, 0.9)
NONE = "–"

Facts = Mapping[str, Any]
Results = Mapping[str, BenchResult]


def page(facts: Facts) -> str:
    """The whole page."""
    lines = _head(facts)
    for threads in ("1", "2"):
        found = _results(facts, threads)
        plain = {name: result for name, result in found.items() if not name.endswith(VARIANTS)}
        others = {name: result for name, result in found.items() if name.endswith(VARIANTS)}
        lines += _speed(f"Latency, {_threads(threads)}", plain) + _speed(f"Other shapes, {_threads(threads)}", others)
        lines += _bf16(f"16-bit arithmetic, {_threads(threads)}", plain)
    lines += _integers(facts)
    lines += _sizes(_results(facts, "1")) + _compile_times(facts) + _instructions(facts.get("instructions", []))
    return "\n".join(lines) + "\n"


def _head(facts: Facts) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        "# Benchmarks",
        "",
        "Written by `docs/measure.py`, all rows of a model and number of threads from one run; the models are built by a script with random",
        f"weights, f32, batch 1 where the name says nothing else. Host: {facts['machine']}.",
        f"{versions}.",
        "",
        "Every runtime is a process of its own; all are loaded first, then timed in turn, round by round, the others blocked meanwhile.",
        "A call goes through the runtime's Python API, inputs set and outputs read inside the timed region; *C call* is edgec's bare function,",
        "in the same process, where the weights lie in huge pages if the system has them.",
        "A cell is the median over the rounds of the median of a round, in ms. The ratio is the time of the best peer (the lowest median among",
        "those with right outputs) over edgec's (above 1: edgec is faster), round by round: the median and the interval that holds it with 95 %",
        "probability, which is the narrowest pair of order statistics that the binomial distribution allows. *Of peak* is the share of the",
        "measured multiply-add rate of the cores used, Winograd's savings counted as if done. ✗: the outputs differ from edgec's by more than",
        f"1 % of the largest, so it is not taken for the best. {NONE}: it does not run, or there is no file of the model in its format.",
        "",
    ]


def _results(facts: Facts, threads: str) -> dict[str, BenchResult]:
    return {name: result_of(one["threads"][threads]) for name, one in facts["models"].items() if threads in one["threads"]}


def _threads(number: str) -> str:
    return "one thread" if number == "1" else "two threads"


def _speed(title: str, results: Results, said: Sequence[str] = ()) -> list[str]:
    """One row a model, then means and the models that are behind; `said` goes before."""
    if not results:
        return []
    peers = [peer for peer in PEERS if any(_row(result, peer) for result in results.values())]
    head = ["model", "MMAC", "edgec", "C call", *peers, "best peer", "best peer / edgec", "GFLOP/s", "of peak"]
    rows = [_speed_cells(name, result, peers) for name, result in results.items()]
    return [f"## {title}", "", *said, *_table(head, rows), "", *_means(results, peers), *_reasons(results), ""]


def _speed_cells(name: str, result: BenchResult, peers: Sequence[str]) -> list[str]:
    ours, best = result.rows[0], result.best(peers)
    rate = 2 * result.macs / ours.seconds
    return [
        name,
        f"{result.macs / 1e6:.1f}",
        _ms(ours),
        _ms(_row(result, CALL)),
        *(_ms(_row(result, peer), best) for peer in peers),
        best.name if best else NONE,
        _ratio(best, ours),
        f"{rate / 1e9:.1f}",
        f"{rate / (result.peak * result.threads):.0%}",
    ]


def _means(results: Results, peers: Sequence[str]) -> list[str]:
    """The geometric mean against the best peer and against each, and the models whose interval lies below 1.0 and below 0.9."""
    pairs = {name: (best, result.rows[0]) for name, result in results.items() if (best := result.best(peers))}
    if not pairs:
        return []
    ratios = {name: best.ratio(ours) for name, (best, ours) in pairs.items()}
    mean = geometric_mean([middle for middle, _, _ in ratios.values()])
    lines = [f"Geometric mean of best peer / edgec over {len(ratios)} models: **{mean:.2f}**."]
    for limit in LIMITS:
        behind = [name for name, (_, _, high) in ratios.items() if high < limit]
        lines.append(f"Whole interval below {limit}: {', '.join(behind) or 'none'}.")
    return [*lines, f"Against each: {', '.join(_mean_of(results, peer) for peer in peers)}."]


def _mean_of(results: Results, peer: str) -> str:
    ratios = [row.ratio(result.rows[0])[0] for result in results.values() if (row := _row(result, peer)) and row.right]
    return f"{peer} {geometric_mean(ratios):.2f} over {len(ratios)}" if ratios else f"{peer} {NONE}"


def _reasons(results: Results) -> list[str]:
    """Why runtimes are missing, one line for each."""
    found = [f"- {name}: {row.name}: {row.reason}" for name, result in results.items() for row in result.rows if row.reason]
    return ["", "What did not run:", "", *found] if found else []


def _bf16(title: str, results: Results) -> list[str]:
    """edgec and OpenVINO with 16-bit multiplications; the differences are from edgec's f32 outputs."""
    both = {n: (ours, peer) for n, r in results.items() if (ours := _row(r, OURS16)) and (peer := _row(r, PEER16))}
    both = {name: pair for name, pair in both.items() if pair[0].rounds and pair[1].rounds}
    if not both:
        return []
    head = ["model", "edgec f32", "edgec bf16", "openvino bf16", "openvino / edgec", "edgec's difference", "openvino's difference"]
    rows = []
    for name, (ours, peer) in both.items():
        differences = [f"{row.difference:.1e}" for row in (ours, peer)]
        rows.append([name, _ms(results[name].rows[0]), _plain_ms(ours), _plain_ms(peer), _ratio(peer, ours), *differences])
    ratios = {name: peer.ratio(ours) for name, (ours, peer) in both.items()}
    behind = [name for name, (_, _, high) in ratios.items() if high < 1]
    mean = geometric_mean([middle for middle, _, _ in ratios.values()])
    foot = [f"Geometric mean of openvino / edgec over {len(ratios)} models: **{mean:.2f}**."]
    return [f"## {title}", "", *_table(head, rows), "", *foot, f"Whole interval below 1.0: {', '.join(behind) or 'none'}.", ""]


def _integers(facts: Facts) -> list[str]:
    """Quantized networks with one thread; recurrent ones apart, since peers leave those in f32."""
    found = {name: result_of(one) for name, one in facts.get("integers", {}).items()}
    recurrent = {name: found[name] for name in RECURRENT if name in found}
    plain = {name: result for name, result in found.items() if name not in RECURRENT}
    return _speed("Integers (8 bits), one thread", plain, INTEGERS) + _speed("Integers, recurrent networks, one thread", recurrent)


def _sizes(results: Results) -> list[str]:
    """What a compiled model needs, and the peak memory of each runtime's process."""
    peers = [peer for peer in PEERS if any(_row(result, peer) for result in results.values())]
    head = ["model", "arena KB", "live at once KB", "flash KB", "edgec MB", *(f"{peer} MB" for peer in peers)]
    rows = []
    for name, result in results.items():
        sizes = [f"{number / 1e3:.1f}" for number in (result.arena_bytes, result.live_bytes, result.flash_bytes)]
        rows.append([name, *sizes, *(_megabytes(_row(result, runner)) for runner in (OURS, *peers))])
    said = [
        "The arena is the memory a compiled model works in; *live at once* is the least that its buffers need at their fullest moment. Flash is",
        "code and weights. The other columns are the peak memory of a Python process that loads the model and runs it once.",
        "",
    ]
    return ["## Memory", "", *said, *_table(head, rows), ""] if rows else []


def _compile_times(facts: Facts) -> list[str]:
    """Cold, and warm: the artifact or its kernels remembered on disk."""
    rows = [[name, f"{one['cold']:.1f}", f"{one['threads']['1']['compile_seconds']:.1f}"] for name, one in facts["models"].items()
            if "1" in one["threads"]]
    said = ["Compiling for this computer, with a worker process on every core; *warm*: once more with the cache that the first run left."]
    return ["## Compile time", "", *said, "", *_table(["model", "cold s", "warm s"], rows), ""] if rows else []


def _instructions(rows: Sequence[Facts]) -> list[str]:
    return runpy.run_path(str(Path(__file__).with_name("measure_instructions.py")))["section"](rows)


def _row(result: BenchResult, name: str) -> Row | None:
    return next((row for row in result.rows if row.name == name), None)


def _ms(row: Row | None, best: Row | None = None) -> str:
    """Milliseconds, the best bold, wrong outputs crossed."""
    if row is None or not row.rounds:
        return NONE
    text = _plain_ms(row)
    return f"**{text}**" if row is best else text if row.right else f"{text} ✗"


def _plain_ms(row: Row) -> str:
    milliseconds = 1e3 * row.seconds
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _ratio(theirs: Row | None, ours: Row) -> str:
    if theirs is None:
        return NONE
    middle, low, high = theirs.ratio(ours)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _megabytes(row: Row | None) -> str:
    return f"{row.peak / 1e6:.0f}" if row and row.peak else NONE


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
