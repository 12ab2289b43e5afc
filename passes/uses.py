"""Who stores and who reads each buffer of a program, kept up to date while a pass replaces kernels.

    uses = Uses(program.steps)
    uses.only_producer(buffer, reader)      # the one kernel that stores what nobody but `reader` reads, or None
    uses.replace([scores, rows, last], merged)

A question costs what its answer is long, so a pass that asks one of every kernel stays linear in their number.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgec.accesses import buffer_reads
from edgec.kernel import Buffer, Kernel


class Uses:
    """The kernels that store and that read each root buffer."""

    def __init__(self, kernels: Iterable[Kernel]):
        self._stores: dict[Buffer, dict[Kernel, None]] = {}
        self._reads: dict[Buffer, dict[Kernel, None]] = {}
        self.replace((), *kernels)

    def replace(self, old: Iterable[Kernel], *new: Kernel) -> None:
        """Kernels go, others come."""
        for kernel in old:
            for users, roots in self._of(kernel):
                for root in roots:
                    users[root].pop(kernel)
        for kernel in new:
            for users, roots in self._of(kernel):
                for root in roots:
                    users.setdefault(root, {})[kernel] = None

    def only_producer(self, buffer: Buffer, reader: Kernel) -> Kernel | None:
        """The kernel that stores a temporary, alone, which nothing but `reader` reads."""
        if buffer.kind != "temporary" or buffer.parent is not None:
            return None
        stores, readers = self._stores.get(buffer, {}), self._reads.get(buffer, {})
        return next(iter(stores)) if len(stores) == 1 and readers.keys() == {reader} else None

    def only_reader(self, buffer: Buffer) -> Kernel | None:
        """The kernel that reads a temporary, if no other does."""
        readers = self._reads.get(buffer, {}) if buffer.kind == "temporary" and buffer.parent is None else {}
        return next(iter(readers)) if len(readers) == 1 else None

    def users(self, buffer: Buffer) -> set[Kernel]:
        """The kernels that store or read any part of a root buffer."""
        return {*self._stores.get(buffer, {}), *self._reads.get(buffer, {})}

    def _of(self, kernel: Kernel) -> tuple[tuple[dict, set[Buffer]], ...]:
        return ((self._stores, {t.root for t in kernel.targets}), (self._reads, {n.data.root for n in buffer_reads(kernel)}))
