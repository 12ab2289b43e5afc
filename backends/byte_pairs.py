"""Dot products of bytes on NEON without an instruction for them: how a row's several instructions compute one.

Two products of bytes have room in 16 bits as long as the factors on one side are above -128: |-128 * 127 * 2| < 2^15. So first and second
halves of words are taken apart, multiplied, added up in 16 bits and pairwise on to the 32-bit sums: three instructions for 16 products.

    pairs_of_eight(multiply, add_up)    # the `llvm` of a row for eight lanes: see instruction.py for its grammar
"""

from __future__ import annotations

HALVES, PARTS = ("low", "high"), ("even", "odd")


def pairs_of_eight(multiply: str, add_up: str) -> str:
    """The steps for eight lanes: `multiply` is the intrinsic for eight products in 16 bits, `add_up` steps that add `r_{half}`
    to `acc_{half}` by pairs, as `t_{half}`.

    Weights are held before they are taken apart, since LLVM would make truncations of that, which are two instructions more.
    """
    steps = [f"{half}:<16 x i8> = {half}(a); held_{half}:<8 x i16> = held({half}:<8 x i16>)" for half in HALVES]
    steps += ["words:<16 x i16> = join(held_low, held_high)"]
    steps += [f"a_{part}:<8 x i16> = {part}(words); b_{part}:<8 x i16> = {part}(b:<16 x i16>)" for part in PARTS]
    for half in HALVES:
        for part in PARTS:
            steps += [f"{x}_{part}_{half}:<8 x i8> = {half}({x}_{part}:<16 x i8>)" for x in "ab"]
            steps += [f"{part}_{half}:<8 x i16> = {multiply}(a_{part}_{half}, b_{part}_{half})"]
        steps += [f"r_{half}:<8 x i16> = add(even_{half}, odd_{half}); acc_{half}:<4 x i32> = {half}(acc)"]
        steps += [add_up.format(half=half)]
    return "; ".join([*steps, "join(t_low, t_high)"])
