"""A window's taps along a line are summed with the channels of each as one axis, in a copy of the picture that has its border around it.

Dot products take four bytes in a row, and three channels of a tap fill three of them. Where channels lie innermost and nothing tests for a
border, the neighbouring taps of a line are neighbours in memory: 7 taps of 3 channels are 21 bytes, or 6 words instead of 7. Runs after
winograd, which needs its taps apart.

    y[i,o] = sum_over(c < 3, p < 7; inside(2*i + p - 3 < 224; x[2*i + p - 3, c]; 0) * w[o, c, p])
    ->  b[q] = inside(q - 9 < 672; x[(q - 9) // 3, (q - 9) % 3]; 0);  y[i,o] = sum_over(s < 21; b[6*i + s] * w'[o, s])
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from edgec.backends.instruction import dots as dot_rows
from edgec.expr import Expr, ReduceParts, binary, cast, const, fresh, inside, inside_pairs, is_const, read, reduce
from edgec.kernel import Axis, Buffer, Kernel, Program, Stage
from edgec.linear import coefficient
from edgec.sweeps import transform, walk

WORD = 4              # bytes of a dot product's group
LINE = 64             # bytes that a line of the copy is a multiple of
BYTES_PER_CYCLE = 8   # of the copy, with all that making it takes
WORTH = 2.0           # times the cycles of the copy that words saved must be worth


@dataclass(frozen=True, eq=False)
class Window:
    """A sum of products of bytes: the read of a picture, its border's value, the read of weights, and the axes that become one."""

    node: Expr
    picture: Expr
    fill: Expr | None
    weights: Expr
    tap: Expr
    taps: int
    channel: Expr
    channels: int
    along: int     # the dimension of the picture that taps move along
    across: int    # and that of its channels


def joined_taps(program: Program, target: Any) -> Program:
    """The program with such windows, where words of bytes are multiplied and a copy costs less than they save."""
    rows = [row for row in dot_rows(target.instructions) if row.lanes == target.lanes(32) and row.acc == "i32" and row.group == WORD]
    return program.with_steps(new for kernel in program.steps for new in _joined(kernel, target.lanes(32))) if rows else program


def _joined(kernel: Kernel, lanes: int) -> list[Kernel]:
    nodes = [n for s in kernel.stages for n in walk(s.value) if n.op == "reduce"]
    axes = (*kernel.axes, *kernel.stages[0].axes)
    if len(kernel.stages) > 1 or len(nodes) != 1 or kernel.block or not all(isinstance(a.extent, int) for a in axes):
        return [kernel]
    window = _window(nodes[0])
    if window is None or not _pays(prod(a.extent for a in axes) / lanes, window):
        return [kernel]
    copy, sums = _copied(kernel, window)
    stage = kernel.stages[0]
    value, = transform((stage.value,), lambda n: sums if n is window.node else None)
    return [copy, replace(kernel, stages=(replace(stage, value=value),))]


# ------------------------------------------------------------------------------------------------------------- recognised

def _window(node: Expr) -> Window | None:
    """The window of a sum, if it is one over bytes with channels innermost and taps of a line beside each other."""
    parts = ReduceParts(node)
    if parts.combine != "add" or len(parts.body) != 1 or parts.body[0].op != "mul" or any(e.op != "const" for e in parts.extents):
        return None
    extents = {v: e.data for v, e in zip(parts.axes, parts.extents)}
    for data, weights in (parts.body[0].args, parts.body[0].args[::-1]):
        data, weights = (e.args[0] if e.op == "cast" else e for e in (data, weights))
        tested, fill = (tuple(inside_pairs(data)), data.args[1]) if data.op == "inside" else ((), None)
        picture = data.args[0] if data.op == "inside" else data
        reads = picture.op == weights.op == "read" and weights.data.kind == "constant" and picture.data.root.kind != "constant"
        if reads and picture.dtype.bits == weights.dtype.bits == 8 and (fill is None or fill.op == "const"):
            return _axes(node, picture, fill, tested, weights, extents)
    return None


def _axes(node: Expr, picture: Expr, fill: Expr | None, tested: tuple, weights: Expr, extents: dict[Expr, int]) -> Window | None:
    """The window with the dimensions that its channels and the taps of a line are; None where they are not apart from all others."""
    buffer = picture.data
    numbered = all(isinstance(step, int) for step in buffer.strides) and all(isinstance(n, int) for n in buffer.shape)
    if not numbered or not all(w in extents or not w.free & extents.keys() for w in weights.args):
        return None
    across = [d for d, i in enumerate(picture.args) if i in extents and buffer.strides[d] == 1 and buffer.shape[d] == extents[i]]
    if len(across) != 1:
        return None
    channel, channels = picture.args[across[0]], buffer.shape[across[0]]
    for d, i in enumerate(picture.args):
        taps = [v for v in i.free if v in extents]
        if buffer.strides[d] == channels and d != across[0] and len(taps) == 1 and coefficient(i, taps[0]) == 1:
            others = [j for n, j in enumerate(picture.args) if n != d]
            alone = not any(taps[0] in j.free for j in others) and sum(channel in j.free for j in picture.args) == 1
            named = all(v in weights.args for v in (channel, taps[0])) and all(_is_border(p, e, picture) for p, e in tested)
            found = Window(node, picture, fill, weights, taps[0], extents[taps[0]], channel, channels, d, across[0])
            return found if alone and named else None
    return None


def _is_border(place: Expr, extent: Expr, picture: Expr) -> bool:
    """Whether a test is for a dimension of the picture itself."""
    return any(place is i and is_const(extent, n) for i, n in zip(picture.args, picture.data.shape))


def _pays(vectors: float, window: Window) -> bool:
    """Whether words are saved, and more cycles by that in so many vectors of results than the copy takes."""
    parts = ReduceParts(window.node)
    before, after = window.taps * -(-window.channels // WORD), -(-window.taps * window.channels // WORD)
    others = prod(e.data for v, e in zip(parts.axes, parts.extents) if v not in (window.tap, window.channel))
    return (before - after) * others * vectors > WORTH * window.picture.data.max_size / BYTES_PER_CYCLE


# ---------------------------------------------------------------------------------------------------------------- written

def _copied(kernel: Kernel, window: Window) -> tuple[Kernel, Expr]:
    """The kernel that copies a picture with its border, channels of a line as one dimension, and the sum that reads the copy."""
    picture, channels = window.picture, window.channels
    outer = [d for d in range(len(picture.args)) if d not in (window.along, window.across)]
    low, high = [i.lo for i in picture.args], [i.hi for i in picture.args]
    start = low[window.along] * channels
    width = -(-((high[window.along] + 1) * channels - start + WORD - 1) // LINE) * LINE  # the last word of a line may reach beyond it
    shape = (*(high[d] - low[d] + 1 for d in outer), width)
    buffer = Buffer(f"{kernel.name}.bordered", picture.dtype, shape, "temporary")
    axes = tuple(Axis(fresh("b", 0, extent - 1), extent) for extent in shape[:-1])
    left, right = max(0, -start), min(picture.data.shape[window.along] * channels - start, width)
    places = {d: a.var + low[d] for d, a in zip(outer, axes)}
    stages = []
    for name, first, last in (("left", 0, left), ("middle", left, right), ("right", right, width)):
        along = Axis(fresh("q", 0, last - first - 1), last - first) if last > first else None
        if along is not None:
            value = _of_picture(window, places, along.var + first + start) if name == "middle" else _fill(window)
            stages.append(Stage(name, (along,), value, buffer, (*(a.var for a in axes), along.var + first)))
    return Kernel(f"{kernel.name}.border", axes, tuple(stages), kernel.repeat), _summed(window, buffer, outer, low)


def _fill(window: Window) -> Expr:
    return window.fill if window.fill is not None else const(0, window.picture.dtype)


def _of_picture(window: Window, places: dict[int, Expr], at: Expr) -> Expr:
    """What the picture has at element `at` of a line whose other places are given; its border's value beyond its lines."""
    picture, channels = window.picture, window.channels
    args = {**places, window.along: at // channels, window.across: at % channels}
    tests = [(i, picture.data.shape[d]) for d, i in places.items()]
    return inside(tests, read(picture.data, [args[d] for d in range(len(args))]), _fill(window))


def _summed(window: Window, buffer: Buffer, outer: list[int], low: list[int]) -> Expr:
    """The sum over the copy, with weights whose taps of a line and channels are one dimension, too."""
    parts, picture = ReduceParts(window.node), window.picture
    used = window.taps * window.channels
    size = -(-used // WORD) * WORD
    joined = fresh("r", 0, size - 1)
    first = picture.args[window.along] - window.tap - low[window.along]
    data = read(buffer, (*(picture.args[d] - low[d] for d in outer), first * window.channels + joined))
    taken = [n for n, i in enumerate(window.weights.args) if i is window.tap or i is window.channel]
    rest = [n for n in range(len(window.weights.args)) if n not in taken]
    tap, channel = (next(n for n in taken if window.weights.args[n] is v) for v in (window.tap, window.channel))
    table = window.weights.data
    array = np.ascontiguousarray(np.transpose(table.data, (*rest, tap, channel))).reshape(*(table.data.shape[n] for n in rest), used)
    array = np.pad(array, [(0, 0)] * len(rest) + [(0, size - used)])
    constant = Buffer(f"{table.name}.joined", table.dtype, array.shape, "constant", array)
    weights = read(constant, (*(window.weights.args[n] for n in rest), joined))
    left = [(v, e) for v, e in zip(parts.axes, parts.extents) if v is not window.tap and v is not window.channel]
    factors = [cast(weights if window.weights in (e, *e.args) else data, e.dtype) for e in parts.body[0].args]
    body = (binary("mul", *factors),)
    return reduce("add", [*(v for v, _ in left), joined], [*(e for _, e in left), size], parts.init, body)[0]
