"""Optimiser steps and box suppression: compiled against interpreted, and against steps written out here."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input
from edgec.ops.boxes import NonMaxSuppression
from edgec.ops.training import Adagrad, Adam, Momentum
from edgec.types import TensorType, f32, i64

RNG = np.random.default_rng(0)
RATE = np.float32(0.1)


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("cls, groups, attributes", [
    (Adagrad, 3, {"decay_factor": 0.1, "norm_coefficient": 0.01}), (Adam, 4, {"norm_coefficient": 0.01, "norm_coefficient_post": 0.02}),
    (Momentum, 3, {"alpha": 0.9, "beta": 0.5, "mode": "nesterov", "norm_coefficient": 0.01}),
])
def test_steps(check_compiled, cls, groups, attributes, count):
    shapes = [(2, 3), (4,)] * groups  # two parameters
    tensors = [np.abs(RNG.standard_normal(s)).astype(np.float32) for s in shapes]
    check_compiled(lambda r, t, *v: cls(r, t, v, **attributes).results, [np.array(RATE), np.array(count), *tensors])


def test_plain_momentum(check_compiled):
    x, g, v = (np.float32([n, 2 * n]) for n in (1, 2, 3))
    new, velocity = check_compiled(lambda r, t, *w: Momentum(r, t, w, alpha=0.5, beta=1.0, mode="standard", norm_coefficient=0.0).results,
                                   [np.array(RATE), np.array(1), x, g, v])
    np.testing.assert_allclose(velocity, 0.5 * v + g)
    np.testing.assert_allclose(new, x - RATE * velocity, rtol=1e-6)


def value(name, shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def test_tensors_come_in_groups():
    r, t = value("r", ()), value("t", (), i64)
    with pytest.raises(TypeMismatch, match="no groups of 3"):
        Adagrad(r, t, (value("x", (2,)),) * 2)
    with pytest.raises(TypeMismatch, match="its parameter"):
        Adagrad(r, t, (value("x", (2,)), value("g", (3,)), value("h", (2,))))


@pytest.mark.parametrize("centered", [0, 1])
@pytest.mark.parametrize("score", [None, 0.3])
def test_boxes_against_onnxruntime(onnxruntime_results, check_compiled, centered, score):
    boxes = np.sort(RNG.random((2, 7, 2, 2)), axis=2).reshape(2, 7, 4).astype(np.float32)
    arrays = [boxes, RNG.random((2, 2, 7)).astype(np.float32), np.array([3]), np.float32([0.3])] + ([] if score is None else [np.float32([score])])
    found, = check_compiled(lambda *v: NonMaxSuppression(*v, center_point_box=centered).output, arrays)
    expected, = onnxruntime_results("NonMaxSuppression", arrays, {"center_point_box": centered}, 1)
    np.testing.assert_array_equal(found, expected)


def test_what_is_refused():
    with pytest.raises(Unsupported, match="how many boxes"):
        NonMaxSuppression(value("b", (1, 3, 4)), value("s", (1, 1, 3)), constant(np.array([1])))
    with pytest.raises(TypeMismatch, match="do not fit"):
        NonMaxSuppression(value("b", (1, 3, 4)), value("s", (1, 1, 4)))
