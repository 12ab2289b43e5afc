"""Executed instructions of integer networks on Arm under emulation: the last section of docs/arm.md, for measure_arm.py.

    rows = counted(Path("../shared/peers"))          section(rows)          floats, section = parts(page)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.inspect_object import section_sizes
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.layer_facts import layer_facts
from edgec.onnx.reader import load, open_names

SMALL = ("mlperf_ic_resnet8", "mlperf_kws_dscnn", "mlperf_vww_mbv1_025")
LARGE = "mobilenetv2_100_224_ptqw8"
COUNTED = (*((model, board) for model in SMALL for board in ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55")),
           *((LARGE, core) for core in ("aarch64", "cortex-a76", "cortex-a710", "cortex-a7")))
FORMS = {"aarch64": "plain NEON: smull, smlal, sadalp", "cortex-a76": "dotprod: sdot", "cortex-a710": "i8mm: smmla, ummla and usmmla",
         "cortex-a7": "Armv7: vmull, vmlal, vpadal"}
TITLE = "\n## Integers\n"
HEAD = """
One inference of networks that onnxruntime quantized to 8 bits (`../shared/peers`, batch 1): sdot on the Cortex-A76, smmla (which
multiplies a matrix of 2 x 8 bytes by one of 8 x 2, [schedules](schedules.md#dot-products)) on the A710,
smlad on Cortex-M4 and M7, vmlava on the M55. The Cortex-M3 and M0+ multiply one by one and have no floats: a 64-bit product of integers
scales a sum, and only where that comes near the middle of two results f32 decides. Plain AArch64 and Armv7 take words of four bytes, too:
their first and second halves are multiplied apart, two products meet in 16 bits (which have room for them where no weight is -128, as
symmetric quantization has it; else smlal multiplies in 16 bits), and sadalp adds them up by pairs: three instructions for 16 products.

| model | target | million instructions | per multiply-add | code KB | flash KB |
|---|---|---|---|---|---|
"""
FORMS_HEAD = f"""
Executed instructions a multiply-add by extension, of {LARGE}:

| extension | target | per multiply-add |
|---|---|---|
"""


class Row(NamedTuple):
    """One model on one machine: executed instructions and multiply-adds of an inference, bytes of code and of all that lies in flash."""

    model: str
    target: str
    instructions: int
    macs: int
    code_bytes: int
    flash_bytes: int


def counted(peers: Path, targets: Collection[str] = ()) -> list[Row]:
    """A row for each pair of COUNTED, of some targets or all, whose model and emulator are here."""
    found = [(model, peers / f"{model}_ort_minmax.onnx", target) for model, target in COUNTED if not targets or target in targets]
    return [count(model, path, target) for model, path, target in found if path.is_file() and not missing_tools(find(target))]


def count(model: str, path: Path, target: str) -> Row:
    """Compiles and emulates one model; open dimensions are 1."""
    graph = load(path, bind=dict.fromkeys(open_names(path), 1))
    artifact = compile(graph, find(target))
    instructions = emulate(artifact, [drawn_inputs(graph)], count_instructions=True).instructions
    code = sum(size for name, size in section_sizes(artifact.object).items() if ".text" in name)
    return Row(model, target, instructions, sum(layer.macs for layer in layer_facts(graph)), code, artifact.interface.flash_bytes)


def section(rows: Sequence[Row], old: str = "") -> str:
    """The section with its title; instructions a multiply-add are of those that the layers' shapes ask for. What is not among the rows
    stays as an old section has it."""
    lines = known(old) | {(r.model, r.target): f"| {r.model} | {r.target} | {r.instructions / 1e6:.1f} | {r.instructions / r.macs:.3f} | "
                          f"{r.code_bytes / 1e3:.1f} | {r.flash_bytes / 1e3:.1f} |\n" for r in rows}
    order = dict.fromkeys([*COUNTED, *lines])
    return "".join([TITLE, HEAD, *(lines[pair] for pair in order if pair in lines), *_forms(lines)])


def known(section: str) -> dict[tuple[str, str], str]:
    """The lines of a section's table of models by model and target."""
    cells = {line: [cell.strip() for cell in line.strip("|\n").split("|")] for line in section.splitlines(keepends=True)}
    return {(row[0], row[1]): line for line, row in cells.items() if len(row) == 6 and (row[0], row[1]) in COUNTED}


def _forms(lines: Mapping[tuple[str, str], str]) -> list[str]:
    """What a multiply-add takes of the instructions of each extension, in the large model."""
    found = {target: line.split("|")[4].strip() for (model, target), line in lines.items() if model == LARGE}
    lines = [f"| {form} | {core} | {found[core]} |\n" for core, form in FORMS.items() if core in found]
    return [FORMS_HEAD, *lines] if lines else []


def parts(page: str) -> tuple[str, str]:
    """The page before this section, and the section ("" where there is none yet)."""
    before, title, after = page.partition(TITLE)
    return before, title + after
