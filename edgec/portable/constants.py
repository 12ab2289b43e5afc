"""pi/2 and ln(2) cut into floats that add up to more digits than one float holds.

A part of w bits times an integer of v bits is exact when v + w is at most the bits of a fraction; that is what makes argument reduction
work (W. J. Cody and W. Waite, 1980).

    parts(PI, (8, 8))       # 3.140625, 0.000966...: the first 16 bits of pi
"""

from __future__ import annotations

from collections.abc import Sequence

# Binary digits, as hexadecimal: pi = 3.243F6A88..., ln(2) = 0.B17217F7..., both cut off after FRACTION bits
FRACTION = 192
PI = 0x3_243F6A88_85A308D3_13198A2E_03707344_A4093822_299F31D0
LN2 = 0x0_B17217F7_D1CF79AB_C9E3B398_03F2F6AF_40F34326_7298B62D


def parts(digits: int, widths: Sequence[int], shift: int = 0) -> tuple[float, ...]:
    """Successive groups of `widths` bits of digits / 2^(FRACTION + shift), each as an exact float."""
    left, found = digits.bit_length(), []
    for width in widths:
        left -= width
        found.append(float((digits >> left & (1 << width) - 1) << left) / 2.0 ** (FRACTION + shift))
    return tuple(found)


# x - n * ln(2): n * the first part is exact for |n| < 2^9 (f32), 2^11 (f64)
LN2_PARTS = {"f32": parts(LN2, (15, 24)), "f64": parts(LN2, (42, 53))}
# x - n * pi/2 with products that round once: any n is exact
HALF_PI_FUSED = {"f32": parts(PI, (24, 24, 24), 1)}
HALF_PI_KEPT = {"f32": (HALF_PI_FUSED["f32"][:1], HALF_PI_FUSED["f32"][1:2], HALF_PI_FUSED["f32"][2])}
# Else in three groups: parts whose sums are exact as well, parts whose products are exact (|n| < 2^16 in f32, 2^20 in f64), and the rest
_F32, _F64 = parts(PI, (8, 8, 8, 8, 8, 8, 24), 1), parts(PI, (33, 33, 33, 53), 1)
HALF_PI_PARTS = {"f32": (_F32[:3], _F32[3:6], _F32[6]), "f64": (_F64[:1], _F64[1:3], _F64[3])}
