"""Boxes that overlap too much with a better one are left out: NonMaxSuppression.

Boxes are put in order by counting (edgec.ops.selection); a Scan then walks them from the best score down and keeps each that no kept one
overlaps. How many are kept in the end must be known when the model is read: it is the size of the result.

    NonMaxSuppression(boxes, scores, most, iou, score).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, cast, compare, const, maximum, minimum, select
from edgec.graph import Graph, Op, Value, constant, graph_input
from edgec.ops.arithmetic import Neg
from edgec.ops.gather import looked_up
from edgec.ops.known_values import known_value
from edgec.ops.selection import Unravel, places_in_order, places_of_true
from edgec.types import TensorType, f32, i32, i64


class NonMaxSuppression(Op):
    """ONNX NonMaxSuppression: (batch, class, box) of the boxes kept, class by class from the best score down (NonMaxSuppression-11)."""

    boxes: Value
    scores: Value
    max_output_boxes_per_class: Value | None = None
    iou_threshold: Value | None = None
    score_threshold: Value | None = None
    center_point_box: int = 0

    def infer(self) -> TensorType:
        boxes, scores = self.boxes.type, self.scores.type
        fits = boxes.rank == scores.rank == 3 and boxes.shape[2] == 4 and boxes.shape[:2] == (scores.shape[0], scores.shape[2])
        self.require(fits, f"boxes {boxes} and scores {scores} do not fit")
        arrays = [None if v is None else known_value(v) for v in self._fields]
        if any(a is None and v is not None for a, v in zip(arrays, self._fields)):
            raise Unsupported("NonMaxSuppression: how many boxes are kept is not known at compile time", loc=self._pending_loc)
        return TensorType(i64, (len(self.reference(*arrays)), 3))

    @property
    def _fields(self) -> tuple[Value | None, ...]:
        return self.boxes, self.scores, self.max_output_boxes_per_class, self.iou_threshold, self.score_threshold

    def elements(self) -> None:
        return None

    def reference(self, boxes, scores, most, iou, score):
        limit = 0 if most is None else int(most.reshape(()))
        overlap, least = (0.0 if a is None else float(a.reshape(())) for a in (iou, score))
        found = []
        for batch, row in enumerate(scores):
            corners = _corners(boxes[batch].astype(np.float64), self.center_point_box)
            for number, values in enumerate(row):
                kept: list[int] = []
                for box in np.argsort(-values, kind="stable"):
                    counts = score is None or values[box] > least
                    if counts and len(kept) < limit and not any(_overlap(corners[box], corners[k]) > overlap for k in kept):
                        kept.append(int(box))
                found += [(batch, number, box) for box in kept]
        return np.array(found, np.int64).reshape(-1, 3)

    def decompose(self) -> Value:
        flat, order = kept_boxes(*self._fields, self.center_point_box)
        return named_boxes(places_of_true(flat, self.output.shape[0]), order)


def named_boxes(places: Value, order: Value) -> Value:
    """The rows (batch, class, box) of places among all boxes in their order by score."""
    from edgec.ops.reshape import Shape, Transpose
    return NamedBoxes(Transpose(Unravel(places, Shape(order).output).output, perm=(1, 0)).output, order).output


def kept_boxes(boxes: Value, scores: Value, most: Value | None, iou: Value | None, score: Value | None, center_point_box: int
               ) -> tuple[Value, Value]:
    """Whether each box of each class is kept, in their order by score, as a vector; and that order.

    Ranks, the sides in that order, and a Scan over the boxes: memory for the boxes, not for their pairs.
    """
    from edgec.ops.cast import Cast
    from edgec.ops.control_flow import Scan
    from edgec.ops.gather import GatherElements
    from edgec.ops.reshape import Reshape
    batch, classes, count = scores.shape
    order = places_in_order(Neg(scores).output, 2, count, descending=False)
    sides = Sides(boxes, order, center_point_box=center_point_box).output
    wanted = AboveThreshold(GatherElements(scores, order, axis=2).output, score).output
    limit, overlap = (Reshape(constant(np.array(0, d.numpy)) if v is None else v, constant(np.zeros(0, np.int64))).output
                      for v, d in ((most, i64), (iou, f32)))
    kept = Scan((constant(np.zeros((batch, classes, count), np.int32)), sides, wanted, constant(np.arange(count, dtype=np.int32))),
                captured=(sides, limit, overlap), body=_keep_one(batch, classes, count, overlap.dtype), num_scan_inputs=3,
                scan_input_axes=(3, 2, 0)).results[0]
    return Reshape(Cast(kept, to=9).output, constant(np.array([-1]))).output, order


def _keep_one(batch: int, classes: int, count: int, dtype: Any) -> Graph:
    """One box of every class: kept when it is wanted, overlaps with none kept so far by too much, and there is room."""
    shape, one = (batch, classes, count), (batch, classes)
    types = [TensorType(i32, shape), TensorType(f32, (batch, classes, 4)), TensorType(i64, one), TensorType(i32, ()),
             TensorType(f32, (batch, classes, 4, count)), TensorType(i64, ()), TensorType(dtype, ())]
    inputs = tuple(graph_input(f"nms{n}", t, tag=n + 1) for n, t in enumerate(types))
    return Graph(inputs, (KeepOne(*inputs).output,), ("kept",), "keep")


class Sides(Op):
    """edgec Sides: low and high of one direction, then of the other, f32[batch, classes, 4, boxes], in the order by score."""

    domain = "edgec"
    boxes: Value
    order: Value
    center_point_box: int = 0

    def infer(self) -> TensorType:
        batch, classes, count = self.order.shape
        return TensorType(f32, (batch, classes, 4, count))

    def reference(self, boxes, order):
        result = np.zeros(self.output.shape, np.float32)
        for b, c in np.ndindex(*order.shape[:2]):
            result[b, c] = _corners(boxes[b].astype(np.float32), self.center_point_box)[order[b, c]].T
        return result

    def lower(self, at, boxes, order):
        b, c, side, n = at
        box = looked_up(order(b, c, n), boxes.shape[1])
        p = [cast(boxes(b, box, k), f32) for k in range(4)]
        if self.center_point_box:
            half = [p[2] * 0.5, p[3] * 0.5]
            found = p[0] - half[0], p[0] + half[0], p[1] - half[1], p[1] + half[1]
        else:
            found = minimum(p[0], p[2]), maximum(p[0], p[2]), minimum(p[1], p[3]), maximum(p[1], p[3])
        value = found[3]
        for k in (2, 1, 0):
            value = select(compare("eq", side, k), found[k], value)
        return value


class KeepOne(Op):
    """edgec KeepOne: `kept` with the box at `place` added where it may stay: nothing kept overlaps it by more than `overlap`."""

    domain = "edgec"
    kept: Value
    own: Value
    wanted: Value
    place: Value
    sides: Value
    limit: Value
    overlap: Value

    def infer(self) -> TensorType:
        return self.kept.type

    def reference(self, kept, own, wanted, place, sides, limit, overlap):
        free = (wanted != 0) & (kept.sum(-1) < limit)
        for b, c in np.ndindex(*free.shape):
            others = sides[b, c].T[kept[b, c] != 0].astype(np.float64)
            free[b, c] &= not any(_overlap(own[b, c].astype(np.float64), other) > float(overlap) for other in others)
        return kept + free[..., None].astype(np.int32) * (np.arange(kept.shape[2]) == place)

    def lower(self, at, kept, own, wanted, place, sides, limit, overlap):
        from edgec.ops.accumulation import fold
        b, c, n = at
        mine, least = [own(b, c, k) for k in range(4)], cast(overlap(), f32)

        def clashes(k: Expr) -> Expr:
            other = [sides(b, c, side, k) for side in range(4)]
            areas = [(p[1] - p[0]) * (p[3] - p[2]) for p in (mine, other)]
            both = None
            for side in (0, 2):
                length = maximum(minimum(mine[side + 1], other[side + 1]) - maximum(mine[side], other[side]), 0.0)
                both = length if both is None else both * length
            return kept(b, c, k) * select(compare("lt", least * (areas[0] + areas[1] - both), both), const(1, i32), const(0, i32))
        number = fold((kept.shape[2],), "add", lambda k: kept(b, c, k))
        none = compare("eq", fold((kept.shape[2],), "add", clashes), const(0, i32))
        free = none & compare("lt", cast(number, i64), limit()) & compare("ne", wanted(b, c), const(0, i64))
        return kept(*at) + select(free & compare("eq", cast(n, i32), place()), const(1, i32), const(0, i32))


class AboveThreshold(Op):
    """edgec AboveThreshold: 1 where a score is above the threshold (or there is none), else 0."""

    domain = "edgec"
    x: Value
    threshold: Value | None = None

    def infer(self) -> TensorType:
        return self.x.type.with_dtype(i64)

    def reference(self, x, threshold):
        return np.ones(x.shape, np.int64) if threshold is None else (x > threshold.reshape(())).astype(np.int64)

    def lower(self, at, x, threshold):
        if threshold is None:
            return const(1, i64)
        return select(compare("lt", threshold(*[0] * threshold.rank), x(*at)), const(1, i64), const(0, i64))


class NamedBoxes(Op):
    """edgec NamedBoxes: rows (batch, class, place) with the box in place of its place in `order`."""

    domain = "edgec"
    rows: Value
    order: Value

    def infer(self) -> TensorType:
        return self.rows.type

    def reference(self, rows, order):
        return np.concatenate([rows[:, :2], order[tuple(rows.T)][:, None]], axis=1)

    def lower(self, at, rows, order):
        place = [looked_up(rows(at[0], n), size) for n, size in enumerate(order.shape)]
        return select(compare("eq", at[1], 2), order(*place), rows(*at))


def _corners(boxes: np.ndarray, centered: int) -> np.ndarray:
    """[low, high, low, high] of each box."""
    if centered:
        x, y, w, h = boxes.T
        return np.stack([x - w / 2, x + w / 2, y - h / 2, y + h / 2], 1)
    a, b, c, d = boxes.T
    return np.stack([np.minimum(a, c), np.maximum(a, c), np.minimum(b, d), np.maximum(b, d)], 1)


def _overlap(a: Any, b: Any) -> float:
    """Intersection over union."""
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[2], b[2]))
    union = (a[1] - a[0]) * (a[3] - a[2]) + (b[1] - b[0]) * (b[3] - b[2]) - both
    return both / union if union > 0 else 0.0
