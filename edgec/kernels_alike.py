"""Tiles the kernels of a program, those that are alike once: their loops are the same, only their buffers are others.

    tiling = Tiling(target, measured)
    [tiling.tile(kernel, inside=0) for kernel in program.steps]

Kernels are alike when their text without names is the same (edgec.program_text.kernel_key), and the contents of the constants that
tiling has looked at: whole numbers whose range decides how many bits they are stored in. Other constants are laid out anew for each kernel,
in the order that the first of its kind has found. So networks of many equal layers take the time of a few.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from edgec.accesses import program_buffers
from edgec.backends.target import Target
from edgec.kernel import Buffer, Kernel, Program
from edgec.passes.tile import Tiled, tile
from edgec.program_text import kernel_key
from edgec.schedules import Schedules


@dataclass(frozen=True, eq=False)
class _First:
    """The first kernel of its kind, its buffers in order of appearance, and its loops."""

    buffers: tuple[Buffer, ...]
    tiled: Tiled

    def fits(self, others: tuple[Buffer, ...]) -> bool:
        """Whether constants that had a say in the code hold the same numbers."""
        theirs = dict(zip(self.buffers, others))
        return all(_digest(b) == _digest(theirs[b]) for b in self.tiled.tables.looked_at)

    def over(self, others: tuple[Buffer, ...], name: str) -> Tiled:
        """The loops over other buffers."""
        theirs = dict(zip(self.buffers, others))
        buffers = tuple(theirs[b] if b in theirs else self._packed(b, theirs) for b in self.tiled.buffers)
        return replace(self.tiled, loops=replace(self.tiled.loops, name=name), buffers=buffers)

    def _packed(self, table: Buffer, theirs: dict[Buffer, Buffer]) -> Buffer:
        source, layout = self.tiled.tables.packed.get(table, (None, None))
        if layout is None or theirs[source].data is source.data:
            return table
        return replace(table, name=table.name.replace(source.name, theirs[source].name, 1), data=layout(theirs[source].data.ravel()))


class Tiling:
    """The kernels of one target that have been tiled so far."""

    def __init__(self, target: Target, schedules: Schedules):
        self.target, self.schedules = target, schedules
        self._known: dict[tuple[str, int], list[_First]] = {}

    def tile(self, kernel: Kernel, inside: int = 0) -> Tiled:
        """As `edgec.passes.tile.tile` does it, the innermost `inside` of the kernel's repeats being loops of its own."""
        kernel = replace(kernel, repeat=kernel.repeat[len(kernel.repeat) - inside:])  # where it stands does not matter to its code
        if kernel.external:
            return self._tiled(kernel, inside)
        firsts = self._known.setdefault((kernel_key(kernel), inside), [])
        buffers = tuple(program_buffers(Program("", (), (), (kernel,))))
        for first in firsts:
            if first.fits(buffers):
                return first.over(buffers, kernel.name)
        firsts.append(_First(buffers, self._tiled(kernel, inside)))
        return firsts[-1].tiled

    def _tiled(self, kernel: Kernel, inside: int) -> Tiled:
        return tile(kernel, self.target, choose=self.schedules.choose(kernel, self.target), inside=inside)


def _digest(constant: Buffer) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(constant.data)).digest()
