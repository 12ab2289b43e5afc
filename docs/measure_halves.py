"""Half precision and longer vectors, for docs/arm.md: executed instructions, and how far f16 moves the results.

    rows = measured(Path("zoo"))          section(rows)

Under emulation, like measure_arm.py, which writes the page; rows are (model, target, precision, instructions, difference).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgec.backends.emulate import emulate
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.onnx.reader import load

TITLE = "## Half precision and longer vectors"
# The Cortex-A76 sums f16 in blocks, the Cortex-A710 adds products of f16 to f32 (fmlal); the others have longer vectors, or none.
RUNS = (
    *((model, target, precision) for model in ("tiny_resnet8", "mobilenet_v2", "squeezenet1_1", "resnet18")
      for target in ("cortex-a76", "cortex-a710") for precision in ("f32", "f16")),
    ("tiny_resnet8", "neoverse-v1", "f32"),
    ("tiny_resnet8", "riscv64-v256", "f32"),
    ("tiny_resnet8", "riscv64-v128", "f32"),
    ("tiny_resnet8", "riscv64", "f32"),
)

HEAD = f"""
{TITLE}

One inference, and the largest difference of its outputs from those of f32 on x86-64, over the largest output. The Cortex-A76 sums f16 in
blocks, and takes Winograd's F(2,3) in f16; the Cortex-A710 adds products of f16 to f32 (fmlal), four an instruction as in f32, and has
Winograd in f32 ([precision](precision.md)). neoverse-v1 has SVE of 256 bits.

| model | target | precision | million instructions | largest difference |
|---|---|---|---|---|"""


class Row(NamedTuple):
    """One emulated inference; `difference` is the largest from f32 over the largest output."""
    model: str
    target: str
    precision: str
    instructions: float
    difference: float


def measured(zoo: Path) -> list[Row]:
    """All runs of the table."""
    return [run(zoo, *each) for each in RUNS]


def run(zoo: Path, model: str, target: str, precision: str) -> Row:
    """One model on one emulated machine, against f32 on this computer."""
    graph = load(zoo / f"{model}.onnx")
    inputs = drawn_inputs(graph)
    result = emulate(compile(graph, find(target), precision=precision), [inputs], count_instructions=True)
    return Row(model, target, precision, result.instructions, difference(result.outputs[0], compile(graph, find("native")).run(inputs)))


def difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest of all outputs, each over the largest magnitude it should have."""
    return max(float(np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max()) for name in expected)


def section(rows: Sequence[Row]) -> list[str]:
    """The lines of the page."""
    lines = (f"| {r.model} | {r.target} | {r.precision} | {r.instructions / 1e6:.1f} | {r.difference:.1e} |" for r in rows)
    return [HEAD, *lines]
