"""A choice over the whole graph: which buffers get another layout, by the estimated cycles of all kernels that touch them.

One kernel's best layout is another's worst, so a layout is judged by everybody who touches the buffer. All buffers are tried together;
then those by which some kernel loses are put back, each where those who touch it take fewer cycles with it as it was.

    choice = Choice(program, {buffer: other layout}, moved=lambda kernel, chosen: ..., cycles=lambda kernel: kernel_cycles(kernel, target))
    choice.settled()          # (the buffers that are worth it, cycles saved)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgec.kernel import Buffer, Kernel, Program, Stage
from edgec.program_text import kernel_key
from edgec.sweeps import walk

CLOSE = 0.95  # of the cycles: estimates nearer to each other than this decide nothing

Chosen = frozenset[Buffer]


class Choice:
    """Buffers with another layout to choose, and the cycles of every kernel under each choice, estimated when they are asked for."""

    def __init__(self, program: Program, others: Mapping[Buffer, Buffer], moved: Callable[[Kernel, Chosen], Kernel],
                 cycles: Callable[[Kernel], float], close: float = CLOSE):
        """`others` has every buffer as it would be, `moved` gives a kernel with some of them so; what takes less than `close` of the
        cycles without it is put back."""
        self.others, self._moved, self._cycles, self.close = others, moved, cycles, close
        self.touched = {k: tuple(b for b in touched(k) if b in others) for k in program.steps}
        self.users: dict[Buffer, list[Kernel]] = {b: [] for b in others}
        for kernel, buffers in self.touched.items():
            for b in buffers:
                self.users[b].append(kernel)
        self._texts: dict[Kernel, str] = {}
        self._known: dict[tuple[Any, ...], float] = {}

    def cost(self, kernel: Kernel, chosen: Chosen) -> float:
        """The cycles of a kernel where these buffers have their other layout; kernels that are alike are estimated once."""
        if kernel not in self._texts:
            self._texts[kernel] = kernel_key(kernel)
        found = [self.others[b] if b in chosen else None for b in self.touched[kernel]]
        key = (self._texts[kernel], *(b and (b.shape, b.order) for b in found))
        if key not in self._known:
            self._known[key] = self._cycles(self.moved(kernel, chosen))
        return self._known[key]

    def moved(self, kernel: Kernel, chosen: Chosen) -> Kernel:
        """A kernel with what it touches of these buffers in its other layout."""
        own = chosen.intersection(self.touched[kernel])
        return self._moved(kernel, own) if own else kernel

    def total(self, kernels: Iterable[Kernel], chosen: Chosen) -> float:
        """The cycles of several kernels."""
        return sum(self.cost(k, chosen) for k in kernels)

    def settled(self) -> tuple[Chosen, float]:
        """The buffers for which the other layout is chosen, and the cycles that it saves."""
        none, chosen = Chosen(), Chosen(self.others)
        for b, users in self.users.items():
            contested = any(self.cost(k, chosen) > self.cost(k, none) for k in users)
            if contested and self.total(users, chosen - {b}) < self.close * self.total(users, chosen):
                chosen -= {b}
        concerned = [k for k, buffers in self.touched.items() if chosen.intersection(buffers)]
        before, after = self.total(concerned, none), self.total(concerned, chosen)
        return (none, 0.0) if before < self.close * after else (chosen, before - after)


def touched(kernel: Kernel) -> list[Buffer]:
    """The root buffers that a kernel reads or stores, constants too, in a stable order."""
    return list(dict.fromkeys(root for stage in kernel.stages for root in _roots(stage)))


def _roots(stage: Stage) -> list[Buffer]:
    everything = walk(stage.value, *stage.indices, *(e for pair in stage.guards for e in pair))
    return [*(n.data.root for n in everything if n.op == "read"), *([stage.target.root] if stage.target is not None else [])]
