"""Loops for the in-order Cortex-A53 written by hand, and what llvm-mca makes of them: how near to its limit any code of ours can come.

    python docs/in_order_loops.py     # share of the multiply-adds' own cycles: tiles of 4 x 4 and of 8 x 2 vectors

`rows` reads four pixels whose channels lie together: per 8 steps eight 16-byte loads in one group and eight `ld4` of packed weights, each
two steps ahead of its sums. `blocked` reads four pixels by four channels by a fifth `ld4`, which needs buffers in blocks of four channels.
`eight` reads eight pixels by two `ld4` and the weights of two steps by each: four loads for 64 sums, and a register to spare for none.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

ROUNDS = 50


def rows(groups: int) -> list[str]:
    """A round of 8 * groups steps: sums in v0-15, pixels in v16-23, weights in v24-27 and v28-31."""
    code: list[str] = []
    for group in range(groups):
        code.append("ld4 {v28.4s-v31.4s}, [x9]")
        for row in range(4):
            code.append(f"ldp q{16 + 2 * row}, q{17 + 2 * row}, [x{20 + row}, #{32 * group}]")
            code += [f"add x{1 + k}, x19, #{64 * (8 * group + k)}" for k in (2 * row, 2 * row + 1)]
        for k in range(8):
            weights = 24 + 4 * (k % 2)
            lane = f"s[{k % 4}]"
            code += [f"fmla v{4 * row + v}.4s, v{weights + v}.4s, v{16 + 2 * row + k // 4}.{lane}" for row in range(4) for v in range(4)]
            code += [f"ld4 {{v{weights}.4s-v{weights + 3}.4s}}, [x{1 + k}]"] if k < 7 else []
    return [*code, "subs x18, x18, #1", "add x19, x19, #2048", *(f"add x{20 + row}, x{20 + row}, #64" for row in range(4)), "b.ne .L1"]


def blocked(groups: int) -> list[str]:
    """A round of 8 * groups steps: sums in v0-15, pixels in v16-19 and v20-23, weights in v24-27 and v28-31."""
    code, loads = list[str](), 0
    for four in range(2 * groups):
        pixels, others = 16 + 4 * (four % 2), 20 - 4 * (four % 2)
        for k in range(4):
            weights = 24 + 4 * (k % 2)
            sums = [f"fmla v{4 * row + v}.4s, v{weights + v}.4s, v{pixels + k}.s[{row}]" for row in range(4) for v in range(4)]
            code += [*sums[:8], f"ld4 {{v{others}.4s-v{others + 3}.4s}}, [x28]", *sums[8:]] if k == 1 else sums
            code.append(f"ld4 {{v{weights}.4s-v{weights + 3}.4s}}, [x{1 + loads % 20}]")
            loads += 1
    adds = [f"add x{1 + n}, x{1 + n}, #1024" for n in range(min(loads + 2 * groups, 24))]
    return [*code, *adds, "subs x25, x25, #1", "b.ne .L1"]


def eight(groups: int) -> list[str]:
    """A round of 8 * groups steps: sums in v0-15; v16-31 are four blocks of registers, whose parts pixels and weights change."""
    code, loads = list[str](), 0
    a, b, c, d = 16, 20, 24, 28     # pixels 0 to 3, weights of two steps, pixels 4 to 7, weights of the next two

    def load(block: int) -> str:
        nonlocal loads
        loads += 1
        return f"ld4 {{v{block}.4s-v{block + 3}.4s}}, [x{loads}]"

    def sums(pixels: int, weights: int, first: int, step: int) -> list[str]:
        return [f"fmla v{2 * r + v}.4s, v{weights + 2 * (step % 2) + v}.4s, v{pixels + step}.s[{r - first}]"
                for r in range(first, first + 4) for v in range(2)]

    for _ in range(2 * groups):
        code += [load(c), *sums(a, b, 0, 0), *sums(c, b, 4, 0), load(d), *sums(a, b, 0, 1), *sums(c, b, 4, 1)]
        code += [load(b), *sums(a, d, 0, 2), *sums(c, d, 4, 2), *sums(a, d, 0, 3), load(a), *sums(c, d, 4, 3)]
        a, b = b, a
    return [*code, *(f"add x{1 + n}, x{1 + n}, #1024" for n in range(loads)), "subs x30, x30, #1", "b.ne .L1"]


def share(loop: Callable[[int], list[str]], groups: int, processor: str = "cortex-a53") -> float:
    """Multiply-adds (one leaves a cycle) over the cycles of a round by llvm-mca."""
    code = loop(groups)
    command = ["llvm-mca-22", "-mtriple=aarch64-linux-gnu", f"-mcpu={processor}", f"-iterations={ROUNDS}", "-"]
    said = subprocess.run(command, input="\n".join([".L1:", *code]), capture_output=True, text=True, check=True).stdout
    return sum(line.startswith("fmla") for line in code) * ROUNDS / int(re.search(r"Total Cycles:\s+(\d+)", said)[1])


if __name__ == "__main__":
    for groups in (1, 2, 4):
        print(f"rows, {8 * groups:2} steps a round: {share(rows, groups):.1%}")
    for groups in (1, 2):  # more would take more pointers than there are registers
        print(f"blocked, {8 * groups:2} steps a round: {share(blocked, groups):.1%}")
    for groups in (1, 2, 3):
        print(f"eight rows, {8 * groups:2} steps a round: {share(eight, groups):.1%}")
