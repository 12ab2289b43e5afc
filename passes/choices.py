"""A choice over the whole graph: which buffers get another layout, by the estimated cycles of all kernels that touch them.

One kernel's best layout is another's worst, so a layout is judged by everybody who touches the buffer. All buffers are tried together;
then those by which some kernel loses are put back, each where those who touch it take fewer cycles with it as it was.

    choice = Choice(program, buffers, other=lambda kernel, chosen: ..., cycles=lambda kernel: kernel_cycles(kernel, target))
    choice.settled()          # (the buffers that are worth it, cycles saved)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from edgec.expr import walk
from edgec.kernel import Buffer, Kernel, Program, Stage

CLOSE = 0.95  # of the cycles: estimates nearer to each other than this decide nothing

Chosen = frozenset[Buffer]


class Choice:
    """Buffers with another layout to choose, and the cycles of every kernel under each choice, estimated when they are asked for."""

    def __init__(self, program: Program, buffers: Collection[Buffer], other: Callable[[Kernel, Chosen], Kernel],
                 cycles: Callable[[Kernel], float], close: float = CLOSE):
        """`other` gives a kernel with these buffers in their other layout; a buffer stays as it was where that takes less than `close`."""
        self.buffers, self._other, self._cycles, self.close = frozenset(buffers), other, cycles, close
        self.touched = {k: frozenset(touched(k)) & self.buffers for k in program.steps}
        self.users: dict[Buffer, list[Kernel]] = {b: [] for b in buffers}
        for kernel in program.steps:
            for b in dict.fromkeys(touched(kernel)):
                if b in self.buffers:
                    self.users[b].append(kernel)
        self._known: dict[tuple[Kernel, Chosen], float] = {}

    def cost(self, kernel: Kernel, chosen: Chosen) -> float:
        """The cycles of a kernel where these buffers have their other layout."""
        key = kernel, self.touched[kernel] & chosen
        if key not in self._known:
            self._known[key] = self._cycles(self._other(*key) if key[1] else kernel)
        return self._known[key]

    def total(self, kernels: Iterable[Kernel], chosen: Chosen) -> float:
        """The cycles of several kernels."""
        return sum(self.cost(k, chosen) for k in kernels)

    def settled(self) -> tuple[Chosen, float]:
        """The buffers for which the other layout is chosen, and the cycles that it saves."""
        none, chosen = Chosen(), self.buffers
        for b, users in self.users.items():
            contested = any(self.cost(k, chosen) > self.cost(k, none) for k in users)
            if contested and self.total(users, chosen - {b}) < self.close * self.total(users, chosen):
                chosen -= {b}
        concerned = [k for k, buffers in self.touched.items() if buffers & chosen]
        before, after = self.total(concerned, none), self.total(concerned, chosen)
        return (none, 0.0) if before < self.close * after else (chosen, before - after)


def touched(kernel: Kernel) -> list[Buffer]:
    """The root buffers that a kernel reads or stores, constants too, in a stable order."""
    return list(dict.fromkeys(root for stage in kernel.stages for root in _roots(stage)))


def _roots(stage: Stage) -> list[Buffer]:
    everything = walk(stage.value, *stage.indices, *(e for pair in stage.guards for e in pair))
    return [*(n.data.root for n in everything if n.op == "read"), *([stage.target.root] if stage.target is not None else [])]
