"""What the forms of a convolution cost: the direct one and F(m, r) for each size of tile, in estimated cycles and bytes of weights.

    forms(convolution, target, (2, 4, 6))      # (Form(m=0, ...), Form(m=2, band=4, ...), ...)

The constants were fitted to measured times of 20 shapes on AVX-512; what counts is that they order the forms rightly. Bytes are multiplied
as such in the direct form and as 16 bits in the others, each at the rate of the target's dot product of them; f16 as such in the direct
form, and as f32 or f16 in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from edgec.backends.instruction import Dot, dots, widening_multiply_add
from edgec.passes.halves import LEAST, block_length, multiplies_halves
from edgec.passes.winograd_arithmetic import arithmetic
from edgec.passes.winograd_convolution import Convolution
from edgec.types import DType, f16, f32, i16

STREAM = 6.0  # bytes per cycle that memory beyond the caches delivers
SPILL = 4.0  # bytes per cycle at which scratch that does not stay in L2 comes and goes
SHARE = 0.7  # of L2 is the scratch's, the rest the weights'
COPY = 6.0  # cycles to move a vector of outputs from the scratch of overhanging tiles to its place
CLOSE = 1.03  # of the least cost, within which blocks that two threads share evenly are taken
SHORT = 6.0  # steps by which a matrix product of words costs more than its steps
BETWEEN_BLOCKS = 8.0  # multiply-adds of f16 in whose time the sum of a block is added up in f32
CONVERTED = 0.85  # the speed of f32 multiply-adds left where f16 is converted for them on the way
WIDENED = 0.8  # the speed of 16-bit products left where bytes are widened for them on the way
CROWDED = 0.07  # times that transforms take longer for each value of a patch beyond SMALL_PATCH, on a core that runs code in its order
SMALL_PATCH = 36  # values; more of them come and go through the stack, each before or behind what waits for it
START = 3000.0  # cycles by which three loop nests and their ragged ends cost more than one


@dataclass(frozen=True)
class Form:
    """One way to compute a convolution: F(m, r) with `band` rows of tiles a block; estimated cycles, and bytes of weights.

    The direct form has m = 0. With `half` the transformed operands are f16.
    """

    m: int
    band: int
    cycles: float
    bytes: int
    half: bool = False


def forms(c: Convolution, target: Any, sizes: Sequence[int], resident: int = 0) -> list[Form]:
    """The direct form and the best band of each size, the most accurate first; `resident` is the bytes of weights that pass between two
    uses of these."""
    if c.is_integer and not _row(target, "i16"):
        return [direct(c, target, resident)]
    pairs = [(m, half) for half in (False, True) for m in sizes if arithmetic(c, m, half) is not None]
    return [direct(c, target, resident), *(_best_band(c, m, target, resident, half) for m, half in pairs)]


def direct(c: Convolution, target: Any, resident: int = 0) -> Form:
    """The convolution as it stands."""
    macs = c.size ** 2 * c.channel[1] * c.out.extent
    size = macs * c.weight.dtype.bytes
    products = c.images * prod(a.extent for a in c.rows) * macs / _speed(target, c.weight.dtype, c.channel[1])
    return Form(0, 0, products + size / _rate(max(size, resident), target), size)


def _best_band(c: Convolution, m: int, target: Any, resident: int, half: bool) -> Form:
    """The cheapest number of rows of tiles: few keep the scratch in L2, many read the weights fewer times and leave fewer rows over."""
    rows = -(-c.rows[0].extent // m)
    factor = f16 if half else i16 if c.is_integer else f32
    size = (m + c.size - 1) ** 2 * c.channel[1] * c.out.extent * factor.bytes
    costs = {band: _cycles(c, m, band, target, resident, factor) for band in range(1, rows + 1)}
    least = min(costs.values())
    best = min((band for band in costs if costs[band] <= CLOSE * least), key=lambda band: (_uneven(c, -(-rows // band)), costs[band]))
    return Form(m, best, costs[best], size, half)


def _uneven(c: Convolution, blocks: int) -> float:
    """How much longer than half of the blocks one of two threads has; the walks of a single block are shared each by itself."""
    return 0.0 if c.images * blocks == 1 else round(-(-c.images * blocks // 2) * 2 / (c.images * blocks) - 1, 2)


def _cycles(c: Convolution, m: int, band: int, target: Any, resident: int, factor: DType) -> float:
    """Estimated cycles of F(m, r) with transformed operands of type `factor`: products, transforms (3 operations and more per element and
    vector), the copy of tiles that overhang, weights read once a block, and the way of the scratch through L3 where it is too large for
    L2."""
    alpha, lanes, inner, outer, width = m + c.size - 1, target.lanes(32), c.channel[1], c.out.extent, factor.bytes
    block = band * -(-c.rows[1].extent // m)
    blocks = -(-c.rows[0].extent // (m * band)) * c.images
    tiles = blocks * block
    macs, scratch = alpha ** 2 * inner * outer, alpha ** 2 * block * (inner * width + outer * 4)
    size = macs * width
    products = tiles * macs / _speed(target, factor, inner) * (1 + 0.5 / block) * (1 + (2 * SHORT / inner if c.is_integer else 0))
    vectors = -(-inner * width // (4 * lanes)) + -(-outer // lanes)
    transforms = tiles * vectors * alpha ** 2 * (3.0 if factor is f16 else 3 + alpha / 2) * crowded(alpha, target)
    overhanging = any(a.extent % m for a in c.rows) or c.rows[0].extent % (m * band)
    copies = tiles * m ** 2 * -(-outer // lanes) * COPY if overhanging else 0.0
    weights = size / _rate(max(size, resident), target) + (blocks - 1) * size / _rate(size, target)
    spilled = blocks * 2 * scratch / SPILL if scratch > SHARE * target.l2_bytes else 0.0
    return START + products + transforms + copies + weights + spilled


def crowded(alpha: int, target: Any) -> float:
    """How many times longer the transforms of patches of alpha x alpha values take because these do not stay in registers."""
    return 1.0 + CROWDED * max(0, alpha ** 2 - SMALL_PATCH) if target.in_order else 1.0


def _speed(target: Any, factor: DType, channels: int) -> float:
    """Multiply-adds per cycle of operands of a type, summed over so many channels; 512-bit units are counted once."""
    units = 1 if target.vector_bits >= 512 else target.fma_per_cycle
    if factor.is_float:
        return target.lanes(32) * units * 0.95 * (_half_speed(target, channels) if factor is f16 else 1.0)
    row = _row(target, "i8") or _row(target, "i16") if factor.bits == 8 else _row(target, "i16")
    if row is None:
        return target.lanes(32) * units * 0.95
    widened = WIDENED if factor.bits == 8 and row.b == "i16" else 1.0
    return row.lanes * row.group * units * 0.95 * (1.0 if row.adds else 0.5) * widened


def _half_speed(target: Any, channels: int) -> float:
    """The speed of products of f16, as a multiple of that of f32."""
    block = block_length(channels)
    if multiplies_halves(target) and block >= LEAST:
        return target.lanes(16) / target.lanes(32) * block / (block + BETWEEN_BLOCKS)
    return 1.0 if widening_multiply_add(target, "f16") else CONVERTED


def _row(target: Any, element: str) -> Dot | None:
    """The target's dot product of whole vectors that multiplies such integers and adds up in i32."""
    return next((d for d in dots(target.instructions) if (d.acc, d.b) == ("i32", element) and d.lanes == target.lanes(32)), None)


def _rate(size: int, target: Any) -> float:
    """Bytes per cycle at which a working set of this size arrives, beyond what multiplying hides."""
    if size <= target.l2_bytes // 2:
        return 128.0
    return 64.0 if size <= target.l3_bytes // 3 else 2.5 * STREAM if size <= target.l3_bytes // 3 * 2 else STREAM
