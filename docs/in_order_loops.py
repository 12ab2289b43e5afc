"""Loops for the in-order Cortex-A53 written by hand, and what llvm-mca makes of them: how near to its limit any code of ours can come.

    python docs/in_order_loops.py     # share of the multiply-adds' own cycles: tiles of 4 x 4 vectors

`rows` reads four pixels whose channels lie together: per 8 steps eight 16-byte loads in one group and eight `ld4` of packed weights, each
two steps ahead of its sums. `blocked` reads four pixels by four channels by a fifth `ld4`, which needs buffers in blocks of four channels.
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
