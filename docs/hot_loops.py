"""Where the instructions of an emulated inference are spent, and how many cycles its hot loops take by llvm-mca.

A plugin for qemu counts the runs of every block of code; with the disassembly this gives the runs of every instruction, and from backward
branches the innermost loops. llvm-mca says what a processor's scheduling model makes of such a loop; the limit it is held against is the
same model's time for the loop's multiply-adds alone.

    profile = run(artifact, {"x": x});  loops = hot_loops(profile);  shares(loops, "cortex-a72")      # 0.99, 1.0
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.backends.binding import bind
from edgec.backends.emulate import BOARDS, Program

PLUGIN = BOARDS / "count_blocks.c"
LINE = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")
BRANCH = re.compile(r"(b\.\w+|b|cbn?z|tbn?z)$")
MULTIPLY_ADD = re.compile(r"fml[as]$")
ARITHMETIC = re.compile(r"fml[as]$|f(mul|add|sub|max|min|maxnm|minnm)$")    # what takes the same place of the pipe as a multiply-add
ROUNDS = 50     # iterations that llvm-mca walks; more change nothing


@dataclass(frozen=True)
class Instruction:
    """One instruction of the program: where it stands, in which function, how often it ran."""

    address: int
    function: str
    name: str
    operands: str
    runs: int


@dataclass(frozen=True)
class HotLoop:
    """An innermost loop of a kernel: its instructions as assembly, how many are multiply-adds, and float arithmetic on whole vectors
    altogether, how often it went round."""

    function: str
    assembly: tuple[str, ...]
    multiply_adds: int
    arithmetic: int
    runs: int


def run(artifact: Any, inputs: Mapping[str, Any]) -> list[Instruction]:
    """One inference under emulation: every instruction of the kernels in order of addresses."""
    with Program(artifact.object, artifact.interface, artifact.target, [inputs]) as program:
        plugin = program.folder / "count_blocks.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(PLUGIN), "-o", str(plugin)], check=True)
        said = program._execute([bind(artifact.interface, inputs)], 1, ("-plugin", str(plugin)))
        listing = subprocess.run(["llvm-objdump-22", "-d", "--no-show-raw-insn", str(program.folder / "program")], capture_output=True,
                                 text=True, check=True).stdout
    return executed(listing, said)


def executed(listing: str, said: str) -> list[Instruction]:
    """The instructions of a listing with the runs that the plugin reported."""
    found, function = {}, ""
    for line in listing.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:", line):
            function = head[1]
        elif match := LINE.match(line):
            found[int(match[1], 16)] = (function, match[2], re.sub(r"\s*(//|;).*", "", match[3]))
    addresses, runs = sorted(found), Counter()
    place = {address: n for n, address in enumerate(addresses)}
    for address, count, times in re.findall(r"block ([0-9a-f]+) (\d+) (\d+)", said):
        first = place.get(int(address, 16))
        for n in range(first, first + int(count)) if first is not None else ():
            runs[addresses[n]] += int(times)
    return [Instruction(a, *found[a], runs[a]) for a in addresses if found[a][0].startswith("edgec_")]


def hot_loops(profile: Sequence[Instruction], least: float = 0.01) -> list[HotLoop]:
    """The innermost loops with multiply-adds in which at least `least` of all instructions are spent, the hottest first."""
    total, found = sum(i.runs for i in profile), []
    place = {i.address: n for n, i in enumerate(profile)}
    for n, last in enumerate(profile):
        target = re.search(r"0x([0-9a-f]+) <", last.operands) if BRANCH.match(last.name) else None
        first = place.get(int(target[1], 16), n + 1) if target else n + 1
        body = profile[first:n + 1]
        if body and not any(BRANCH.match(i.name) for i in body[:-1]) and sum(i.runs for i in body) >= least * total:
            adds = sum(bool(MULTIPLY_ADD.match(i.name)) for i in body)
            every = sum(bool(ARITHMETIC.match(i.name)) and i.operands.startswith("v") for i in body)
            found.append((last.runs * len(body), HotLoop(last.function, (".L1:", *map(_text, body)), adds, every, last.runs)))
    return [loop for _, loop in sorted(found, key=lambda pair: -pair[0]) if loop.multiply_adds]


def _text(i: Instruction) -> str:
    operands = re.sub(r"0x[0-9a-f]+ <.*>", ".L1", i.operands) if BRANCH.match(i.name) else re.sub(r"\s*<.*>", "", i.operands)
    return f"{i.name} {operands}"


def cycles(assembly: Sequence[str], processor: str) -> float:
    """Cycles of one iteration by llvm-mca's model of a processor."""
    command = ["llvm-mca-22", "-mtriple=aarch64-linux-gnu", f"-mcpu={processor}", f"-iterations={ROUNDS}", "-"]
    said = subprocess.run(command, input="\n".join(assembly), capture_output=True, text=True, check=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", said)[1]) / ROUNDS


def shares(loops: Sequence[HotLoop], processor: str) -> tuple[float, float]:
    """What part of the cycles of some loops their multiply-adds alone would take, and all their float arithmetic, at the same rate."""
    alone = cycles([f"fmla v{n}.4s, v30.4s, v31.s[0]" for n in range(24)], processor) / 24
    whole = sum(x.runs * cycles(x.assembly, processor) for x in loops)
    return sum(x.runs * x.multiply_adds for x in loops) * alone / whole, sum(x.runs * x.arithmetic for x in loops) * alone / whole
