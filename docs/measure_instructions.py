"""Executed instructions of emulated inferences, as differences of two repeat counts: measured, and written as a section of the page.

    rows = count(Path("zoo"), COUNTED)          section(rows)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.layer_facts import layer_facts
from edgec.onnx.reader import load

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


def count(zoo: Path, model: str, target: str) -> dict[str, Any] | None:
    """The facts of one model on one machine; None where the model or the emulator is missing."""
    path, machine = zoo / f"{model}.onnx", find(target)
    if not path.is_file() or missing_tools(machine):
        return None
    graph = load(path)
    artifact = compile(graph, machine)
    counted = emulate(artifact, [drawn_inputs(graph)], count_instructions=True).instructions
    facts = artifact.interface
    return {
        "model": model,
        "target": target,
        "macs": sum(layer.macs for layer in layer_facts(graph)),
        "instructions": counted,
        "arena_bytes": facts.arena_bytes,
        "stack_bytes": facts.stack_bytes,
        "flash_bytes": facts.flash_bytes,
    }


def section(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the page; none without rows."""
    if not rows:
        return []
    lines = [
        "## Executed instructions per inference",
        "",
        "| model | target | million instructions | per multiply-add | arena KB | stack B | flash KB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['model']} | {row['target']} | {row['instructions'] / 1e6:.1f} | {row['instructions'] / row['macs']:.2f} | "
            f"{row['arena_bytes'] / 1e3:.1f} | {row['stack_bytes']} | {row['flash_bytes'] / 1e3:.1f} |"
        )
    return [*lines, ""]
