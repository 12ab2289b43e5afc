"""The kernels that choose among points: the place of each that is chosen, behind those before it, and how many there are. Used by `fuse`.

    for i in 0..n:  { places[number] = i where holds(i);  number += holds(i) }
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgec.expr import Expr, cast, const, fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Stage
from edgec.types import index


def selecting(places: Buffer, number: Buffer, holds: Callable[[Expr], Expr], repeat: tuple[Axis, ...], loc: Any) -> list[Kernel]:
    """Two kernels in one loop over the points, inside the loops `repeat`; `number` (one element) holds 0 before."""
    extent = places.shape[0]
    step = Axis(fresh("i", 0, (extent if isinstance(extent, int) else extent.hi) - 1), extent)
    chosen, start, one = cast(holds(step.var), number.dtype), const(0, index), const(1, index)
    place = Stage(places.name, (), cast(step.var, places.dtype), places, (cast(read(number, (start,)), index),),
                  guards=((one - cast(chosen, index), one),))
    counted = Stage(number.name, (), chosen, number, (start,), "add")
    return [Kernel(stage.name, (), (stage,), repeat=(*repeat, step), loc=loc) for stage in (place, counted)]
