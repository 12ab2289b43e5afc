"""Counts the instructions of Arm code under emulation, asks llvm-mca about its hot loops, and writes docs/arm.md.

    python docs/measure_arm.py ZOO                              ZOO holds the ONNX files that ../shared/make_zoo.py builds
    python docs/measure_arm.py --integers ../shared/peers       PEERS holds quantized ones: their table alone (arm_integers.py)

Needs qemu-aarch64, qemu-system-arm, gcc for both and for this computer, llvm-mca-22 and llvm-objdump-22 (Debian: qemu-user
qemu-system-arm gcc-aarch64-linux-gnu gcc-arm-none-eabi llvm-22). Nothing in it is timed, so what else runs does not matter.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from pathlib import Path

from edgec.backends.inspect_object import section_sizes
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.onnx_reader import load

DOCS = Path(__file__).resolve().parent
MODELS = ("mobilenet_v2", "resnet18", "squeezenet1_1", "mobilenetv3_large")
SMALL = ("tiny_resnet8", "tiny_dscnn", "tiny_vww", "tiny_ae")
BOARDS = ("cortex-m4", "cortex-m55")
CORES = (("cortex-a53", "cortex-a53"), ("cortex-a72", "cortex-a72"), ("cortex-a76", "neoverse-n1"))  # target, llvm-mca's model

HEAD = """# Arm

<!-- written by docs/measure_arm.py -->

Executed instructions are differences of two repeat counts under qemu, of one inference in f32 by one thread.

| model | target | million instructions | per multiply-add | code KB | code KB with -Os |
|---|---|---|---|---|---|"""

SHARES = """
## Hot loops

What part of the cycles that llvm-mca finds for the innermost loops their multiply-adds alone would take, weighted by how often each loop
goes round; loops with 1 % of all instructions or more, fifty rounds of each with their start (hence 101 %). For the Cortex-A76 the model is
neoverse-n1's, since LLVM gives the A76 the A57's.

| model | cortex-a53 | cortex-a72 | cortex-a76 |
|---|---|---|---|"""

TAIL = """
llvm-mca's model of the in-order Cortex-A53 lets no instruction write back before an older one. A load (4 cycles) behind a multiply-add (10)
waits 6 cycles, each group of loads again, and 16-byte loads leave one by one beside multiply-adds that leave one a cycle. A tile of r rows
and v vectors loads r/4 + v registers for r v multiply-adds, so that 5 x 4 reaches at most 20 / (20 + 5.25) = 79 % even without waiting,
and 32 registers hold no tile that reaches 85 %.

## Half precision and longer vectors

One inference of mobilenet_v2 with `--precision f16` takes 67.5 million instructions on the Cortex-A76 (f16 sums in blocks of 32) where f32
takes 100.2, and 102.9 on the Cortex-A710 (f32 sums by fmlal); its weights take half the flash. tiny_resnet8 in f32 takes 1.7 million with
SVE of 256 bits (neoverse-v1) where NEON takes 2.2, 1.7 and 3.4 with RVV of 256 and 128 bits, and 19.1 on scalar RISC-V."""


def main() -> None:
    """What a folder is given for is written anew, the rest of the page stays."""
    given = argparse.ArgumentParser()
    given.add_argument("zoo", nargs="?", type=Path)
    given.add_argument("--integers", type=Path, metavar="PEERS")
    folders = given.parse_args()
    integers = runpy.run_path(str(DOCS / "arm_integers.py"))
    page = DOCS / "arm.md"
    floats, section = integers["parts"](page.read_text(encoding="utf-8"))
    if folders.zoo:
        floats = "\n".join(table_lines(folders.zoo)) + "\n"
    if folders.integers:
        section = integers["section"](integers["counted"](folders.integers))
    page.write_text(floats + section, encoding="utf-8")


def table_lines(zoo: Path) -> list[str]:
    """The lines of the page."""
    counted = [_counted(zoo, model, "aarch64") for model in MODELS]
    counted += [_counted(zoo, model, board) for board in BOARDS for model in SMALL]
    shares = [f"| {model} | {' | '.join(_share(zoo, model, *core) for core in CORES)} |" for model in MODELS]
    return [HEAD, *filter(None, counted), SHARES, *shares, TAIL]


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


def _share(zoo: Path, model: str, target: str, processor: str) -> str:
    loops = hot_loops_module()
    graph = load(zoo / f"{model}.onnx")
    profile = loops.run(compile(graph, find(target)), drawn_inputs(graph))
    return f"{loops.share(loops.hot_loops(profile), processor):.0%}"


def hot_loops_module():
    """The neighbouring file as a module (its dataclasses need one)."""
    spec = importlib.util.spec_from_file_location("hot_loops", DOCS / "hot_loops.py")
    module = sys.modules["hot_loops"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
