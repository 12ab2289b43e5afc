"""Counts the instructions of Arm code under emulation, asks llvm-mca about its hot loops, and writes docs/arm.md.

    python docs/measure_arm.py ZOO                              ZOO holds the ONNX files that ../shared/make_zoo.py builds
    python docs/measure_arm.py ZOO --cores cortex-a53           the hot loops of one core alone
    python docs/measure_arm.py ZOO --counts                     the table of counts alone
    python docs/measure_arm.py ZOO --halves                     half precision and longer vectors alone (measure_halves.py)
    python docs/measure_arm.py --integers ../shared/peers       PEERS holds quantized ones: their table alone (arm_integers.py)
    python docs/measure_arm.py --integers ../shared/peers --targets cortex-a710     the rows of one machine

Needs qemu-aarch64, qemu-riscv64, qemu-system-arm, gcc for them and for this computer, llvm-mca-22 and llvm-objdump-22 (Debian: qemu-user
qemu-system-arm gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu gcc-arm-none-eabi llvm-22). Nothing in it is timed, so what else runs does
not matter.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from edgec.backends.inspect_object import section_sizes
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.onnx.reader import load

DOCS = Path(__file__).resolve().parent
MODELS = ("mobilenet_v2", "resnet18", "squeezenet1_1", "mobilenetv3_large")
SMALL = ("tiny_resnet8", "tiny_dscnn", "tiny_vww", "tiny_ae")
BOARDS = ("cortex-m4", "cortex-m55")
CORES = {"cortex-a53": "cortex-a53", "cortex-a55": "cortex-a55", "cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}  # to llvm-mca

HEAD = """# Arm

<!-- written by docs/measure_arm.py -->

Executed instructions are differences of two repeat counts under qemu, of one inference in f32 by one thread.

| model | target | million instructions | per multiply-add | code KB | code KB with -Os |
|---|---|---|---|---|---|"""

SHARES = """
## Hot loops

What part of the cycles that llvm-mca finds for the innermost loops their multiply-adds alone would take, weighted by how often each loop
goes round; loops with multiply-adds and 1 % of all instructions or more, fifty rounds of each with their start (hence 101 %). The second
figure, where there is one, counts all float arithmetic on whole vectors (fmla, fmls, fmul, fadd, fsub, fmax, fmin), which takes the same
place of the pipe: what clamps a result or transforms a tile is work, too. For the Cortex-A76 the model is neoverse-n1's, since LLVM gives
the A76 the A57's.

| model | """ + " | ".join(CORES) + " |\n" + "|---" * (1 + len(CORES)) + "|"

TAIL = """
llvm-mca's model of the in-order Cortex-A53 lets no instruction write back before an older one. A load (4 cycles) behind a multiply-add (10)
waits, each group of loads and each branch again; a load of four vectors by `ld4` (8 cycles) waits for one cycle, once in ten multiply-adds,
and an addition of its address, since it knows no offsets. So weights are packed for `ld4`, and buffers that contractions sum over lie in
blocks of four channels, of which one `ld4` brings four points: a tile of eight rows and two vectors needs four loads for 64 multiply-adds
([in order](schedules.md#in-order)). [in_order_loops.py](in_order_loops.py) has such a loop written by hand, {short_eight:.1%} with 8 steps
a round and {eight:.1%} with 16. Each load has its own register for its address, one addition a round; longer rounds want more than there
are. With channels side by side, rows come by groups of loads: {rows:.1%} by hand with 32 steps a round, {short:.1%} with 8. First layers,
whose rows lie side by side in the picture, take them by `ld4`, too. Furthest below are windows that slide over each channel by itself (each
of seven sums waits for its own latency of 10 cycles, each group of nine loads for 21 sums), rows of stride 2, rows that four does not
divide, and Winograd's transforms (36 values do not fit 32 registers; what points p and -p share is added up once).

The model of the Cortex-A55 starts two multiply-adds of whole vectors a cycle, twice what the A53's does, but one load. Its code is the
one for cores that order instructions themselves: the A53's would take as long there.

A core with 64-bit load ports takes two cycles for each 16 bytes, by whatever instruction: there the gain is smaller than the model says."""


def main() -> None:
    """What a folder is given for is written anew, the rest of the page stays."""
    given = argparse.ArgumentParser()
    given.add_argument("zoo", nargs="?", type=Path)
    given.add_argument("--integers", type=Path, metavar="PEERS")
    given.add_argument("--targets", nargs="+", metavar="TARGET", default=(), help="with --integers: the rows of these alone")
    given.add_argument("--cores", nargs="+", choices=CORES, default=())
    given.add_argument("--halves", action="store_true")
    given.add_argument("--counts", action="store_true")
    folders = given.parse_args()
    integers = runpy.run_path(str(DOCS / "arm_integers.py"))
    page = DOCS / "arm.md"
    floats, section = integers["parts"](page.read_text(encoding="utf-8"))
    if folders.zoo:
        floats = "\n".join(written(folders.zoo, sections(floats), folders.cores, folders.halves, folders.counts)) + "\n"
    if folders.integers:
        section = integers["section"](integers["counted"](folders.integers, folders.targets), section if folders.targets else "")
    page.write_text(floats + section, encoding="utf-8")


def sections(floats: str) -> list[str]:
    """The page but for its integers: the table of counts, hot loops, half precision, each from its empty line on."""
    counted, shares, halves = re.split(r"\n(?=\n## )", floats.removesuffix("\n"))
    return [counted, shares, halves]


def written(zoo: Path, old: Sequence[str], cores: Collection[str], halves: bool, counts: bool = False) -> list[str]:
    """The sections, those anew that are asked for, or all when none is."""
    counted, shares, other = old
    everything = not cores and not halves and not counts
    measured = neighbour("measure_halves")
    return [
        "\n".join(table_lines(zoo)) if everything or counts else counted,
        "\n".join(share_lines(zoo, cores or CORES, shares)) if everything or cores else shares,
        "\n".join(measured.section(measured.measured(zoo))) if everything or halves else other,
    ]


def table_lines(zoo: Path) -> list[str]:
    """The lines of the table of counts."""
    counted = [_counted(zoo, model, "aarch64") for model in MODELS]
    counted += [_counted(zoo, model, board) for board in BOARDS for model in SMALL]
    return [HEAD, *filter(None, counted)]


def share_lines(zoo: Path, cores: Collection[str], page: str) -> list[str]:
    """The section of hot loops: some cores are measured, what the page says of others is kept."""
    known = known_shares(page)
    lines = [f"| {model} | {' | '.join(_share(zoo, model, c) if c in cores else known.get((model, c), '') for c in CORES)} |"
             for model in MODELS]
    by_hand = runpy.run_path(str(DOCS / "in_order_loops.py"))
    share, rows, eight = by_hand["share"], by_hand["rows"], by_hand["eight"]
    return [SHARES, *lines, TAIL.format(rows=share(rows, 4), short=share(rows, 1), eight=share(eight, 2), short_eight=share(eight, 1))]


def known_shares(page: str) -> dict[tuple[str, str], str]:
    """What the table of hot loops on a page says: {(model, core): share}."""
    section = page.partition("## Hot loops")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {(row[0], core): cell for row in rows[1:] for core, cell in zip(rows[0][1:], row[1:])}


def _counted(zoo: Path, model: str, target: str) -> str:
    count = runpy.run_path(str(DOCS / "measure_instructions.py"))["count"]
    if (row := count(zoo, model, target)) is None:
        return ""
    fast, small = (_code(zoo / f"{model}.onnx", target, level) for level in ("3", "s"))
    return (f"| {model} | {target} | {row['instructions'] / 1e6:.1f} | {row['instructions'] / row['macs']:.3f} | "
            f"{fast / 1e3:.1f} | {small / 1e3:.1f} |")


def _code(path: Path, target: str, level: str) -> int:
    sizes = section_sizes(compile(path, target, optimize=level).object)
    return sum(size for name, size in sizes.items() if ".text" in name)


def _share(zoo: Path, model: str, target: str) -> str:
    loops = neighbour("hot_loops")
    graph = load(zoo / f"{model}.onnx")
    profile = loops.run(compile(graph, find(target)), drawn_inputs(graph))
    return " / ".join(f"{share:.0%}" for share in loops.shares(loops.hot_loops(profile), CORES[target]))


def neighbour(name: str):
    """A file of this folder as a module (dataclasses and named tuples need one)."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
