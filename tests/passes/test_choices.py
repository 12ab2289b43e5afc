"""Choices over the whole graph: a buffer gets its other layout where all kernels that touch it take fewer cycles together."""

from dataclasses import replace
from itertools import pairwise

import pytest

from edgec.expr import fresh, read
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.passes.choices import Choice, touched
from edgec.types import f32

X, A, B, Y = (Buffer(name, f32, (8, 8), kind) for name, kind in (("x", "input"), ("a", "temporary"), ("b", "temporary"), ("y", "output")))


def scaled(source: Buffer, target: Buffer, factor: float) -> Kernel:
    i, j = fresh("i", 0, 7), fresh("j", 0, 7)
    return Kernel(target.name, (Axis(i, 8), Axis(j, 8)), (Stage(target.name, (), read(source, (i, j)) * factor, target, (i, j)),))


STEPS = (scaled(X, A, 2.0), scaled(A, B, 3.0), scaled(B, Y, 4.0))
PROGRAM = Program("p", (X,), (Y,), STEPS)
OTHERS = {b: replace(b, order=(1, 0)) for b in (A, B)}


def settled(costs: dict[str, dict[str, float]], close: float = 1.0):
    """The names chosen and what they save, where `costs` has each kernel's cycles by the buffers in their other layout ('' for none)."""
    def moved(kernel, chosen):
        return kernel, "".join(sorted(b.name for b in chosen))

    def cycles(found):
        kernel, names = found if isinstance(found, tuple) else (found, "")
        return costs[kernel.name][names]

    chosen, saved = Choice(PROGRAM, OTHERS, moved, cycles, close).settled()
    return {b.name for b in chosen}, saved


CHEAP = {"a": {"": 10.0, "a": 5.0}, "b": {"": 10.0, "a": 9.0, "b": 9.0, "ab": 4.0}, "y": {"": 10.0, "b": 5.0}}


def test_what_all_gain_by_is_chosen():
    assert settled(CHEAP) == ({"a", "b"}, 16.0)


def test_one_kernel_may_lose_what_others_gain():
    assert settled(CHEAP | {"y": {"": 10.0, "b": 12.0}}) == ({"a", "b"}, 9.0)


def test_a_buffer_is_put_back_where_its_kernels_lose_together():
    assert settled(CHEAP | {"y": {"": 10.0, "b": 30.0}}) == ({"a"}, 6.0)


def test_nothing_is_chosen_where_the_whole_loses():
    costs = {"a": {"": 1.0, "a": 5.0}, "b": {"": 1.0, "a": 9.0, "b": 9.0, "ab": 1.5}, "y": {"": 1.0, "b": 5.0}}
    assert settled(costs) == (set(), 0.0)


@pytest.mark.parametrize("close, names", [(1.0, {"a"}), (0.5, {"a", "b"})])
def test_estimates_that_are_close_put_nothing_back(close, names):
    assert settled(CHEAP | {"y": {"": 10.0, "b": 17.0}}, close)[0] == names


def test_kernels_touch_what_they_read_and_store():
    assert [touched(k) for k in STEPS] == [[X, A], [A, B], [B, Y]]


def test_kernels_that_are_alike_are_estimated_once():
    asked = []
    buffers = [X, *(Buffer(f"t{n}", f32, (8, 8), "temporary") for n in range(9)), Y]
    program = Program("p", (X,), (Y,), tuple(scaled(a, b, 2.0) for a, b in pairwise(buffers)))
    others = {b: replace(b, order=(1, 0)) for b in buffers[1:-1]}
    choice = Choice(program, others, lambda kernel, chosen: kernel, lambda kernel: asked.append(kernel.name) or 1.0)
    assert choice.settled() == (frozenset(others), 0.0)
    assert len(asked) == 6          # the first, the last and those between, each in both layouts
