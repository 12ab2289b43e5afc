"""Measures edgec against other runtimes and writes docs/benchmarks.md.

    python docs/measure.py ZOO --against onnxruntime            ZOO: a folder of ONNX files (../shared/make_zoo.py builds one)

Every model is timed in rounds that go around all runtimes within one process, through their Python APIs, inputs set and outputs read in
the timed region. Instruction counts are of emulated inferences, as differences of two repeat counts. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from math import exp, log
from pathlib import Path
from statistics import median

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find
from edgec.bench import BenchResult, bench
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.layer_facts import layer_facts
from edgec.onnx_reader import load

MODELS = (
    "tiny_ae",
    "mlp",
    "tiny_dscnn",
    "tiny_vww",
    "tiny_resnet8",
    "shufflenet_v2_x1_0",
    "mobilenetv3_large",
    "mobilenet_v2",
    "squeezenet1_1",
    "efficientnet_lite0",
    "resnet18",
    "densenet121",
    "resnet50",
    "tcn",
    "unet",
    "convnext_atto",
    "gpt_decoder",
    "vit_tiny",
    "minilm_bert",
    "yolov8n",
    "lstm",
    "gru",
)
COUNTED = (
    ("mobilenet_v2", "aarch64"),
    ("squeezenet1_1", "aarch64"),
    ("tiny_resnet8", "aarch64"),
    ("tiny_resnet8", "cortex-a7"),
    ("tiny_resnet8", "cortex-m4"),
    ("tiny_dscnn", "cortex-m4"),
    ("tiny_vww", "cortex-m4"),
    ("tiny_resnet8", "cortex-m55"),
)
PAGE = Path(__file__).with_name("benchmarks.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zoo", type=Path, help="a folder of ONNX files")
    parser.add_argument("--against", default="onnxruntime", help="runtimes, as `edgec bench --against`")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--models", default=",".join(MODELS))
    arguments = parser.parse_args()
    names = [n for n in arguments.models.split(",") if (arguments.zoo / f"{n}.onnx").is_file()]
    peers = arguments.against.split(",")
    PAGE.write_text(
        "\n".join(
            [
                *_head(peers, arguments.rounds),
                *_speed(arguments.zoo, names, peers, arguments.rounds),
                *_compile_times(arguments.zoo),
                *_counts(arguments.zoo),
            ]
        )
        + "\n",
        encoding="utf-8",
    )
    print(PAGE)


def _head(peers: list[str], rounds: int) -> list[str]:
    return [
        "# Benchmarks",
        "",
        f"Written by `python docs/measure.py ZOO --against {','.join(peers)}`; the models are built by a script with random",
        f"weights, batch 1, f32. One thread, {rounds} rounds around all runtimes in one process; a cell is the median of the rounds. "
        "The ratio is",
        "edgec's time over the other's (below 1: edgec is faster), the median over the rounds and its range. *C call* is the bare",
        "function without Python. *of peak* is the share of this core's measured multiply-add rate, Winograd's savings counted as if done.",
        f"Host: {find('native').seen.split(' with ')[0]}.",
        "",
    ]


def _speed(zoo: Path, names: list[str], peers: list[str], rounds: int) -> list[str]:
    lines = [
        "## Latency",
        "",
        "| model | MMAC | edgec ms | C call ms | "
        + " | ".join(f"{p} ms | edgec / {p}" for p in peers)
        + " | GFLOP/s | of peak | arena KB | live KB | flash KB | largest difference |",
        "|" + "---|" * (10 + 2 * len(peers)),
    ]
    ratios: dict[str, list[float]] = {p: [] for p in peers}
    for name in names:
        result = bench(zoo / f"{name}.onnx", peers, rounds=rounds, memory=False)
        lines.append(_row(name, result, peers, ratios))
        print(lines[-1], flush=True)
    for peer, found in ratios.items():
        lines += [
            "",
            f"Geometric mean of edgec / {peer} over {len(found)} models: **{exp(sum(map(log, found)) / len(found)):.2f}**, "
            f"worst {max(found):.2f}.",
        ]
    return [*lines, ""]


def _row(name: str, result: BenchResult, peers: list[str], ratios: dict[str, list[float]]) -> str:
    ours, call, *others = result.rows
    cells = [name, f"{result.macs / 1e6:.1f}", _ms(ours.seconds), _ms(call.seconds)]
    for peer, row in zip(peers, others):
        per_round = sorted(a / b for a, b in zip(ours.rounds, row.rounds))
        ratios[peer].append(median(per_round))
        cells += [_ms(row.seconds), f"{median(per_round):.2f} ({per_round[0]:.2f} to {per_round[-1]:.2f})"]
    rate = 2 * result.macs / ours.seconds
    return (
        "| "
        + " | ".join(
            [
                *cells,
                f"{rate / 1e9:.1f}",
                f"{rate / result.peak:.0%}",
                f"{result.arena_bytes / 1e3:.1f}",
                f"{result.live_bytes / 1e3:.1f}",
                f"{result.flash_bytes / 1e3:.1f}",
                f"{max(r.difference for r in others):.1e}",
            ]
        )
        + " |"
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds < 0.1 else f"{1e3 * seconds:.1f}"


def _compile_times(zoo: Path) -> list[str]:
    """Cold and warm compile times, worker processes on every core."""
    lines = ["## Compile time", "", "| model | target | cold s | warm s |", "|---|---|---|---|"]
    for name in ("mobilenet_v2", "resnet50"):
        if (zoo / f"{name}.onnx").is_file():
            with tempfile.TemporaryDirectory() as folder:
                seconds = [_timed_compile(zoo / f"{name}.onnx", Path(folder)) for _ in range(2)]
            lines.append(f"| {name} | native | {seconds[0]:.1f} | {seconds[1]:.1f} |")
    return [*lines, ""]


def _timed_compile(path: Path, cache: Path) -> float:
    started = time.perf_counter()
    compile(path, cache=cache)
    return time.perf_counter() - started


def _counts(zoo: Path) -> list[str]:
    """Executed instructions per inference under emulation."""
    lines = [
        "## Executed instructions per inference",
        "",
        "| model | target | million instructions | per multiply-add | arena KB | stack B | flash KB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, target in COUNTED:
        path, machine = zoo / f"{name}.onnx", find(target)
        if path.is_file() and not missing_tools(machine):
            graph = load(path)
            artifact = compile(graph, machine)
            count = emulate(artifact, [drawn_inputs(graph)], count_instructions=True).instructions
            macs, facts = sum(layer.macs for layer in layer_facts(graph)), artifact.interface
            lines.append(
                f"| {name} | {target} | {count / 1e6:.1f} | {count / macs:.2f} | {facts.arena_bytes / 1e3:.1f} | {facts.stack_bytes} | "
                f"{facts.flash_bytes / 1e3:.1f} |"
            )
            print(lines[-1], flush=True)
    return [*lines, ""]


if __name__ == "__main__":
    main()
