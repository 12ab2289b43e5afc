"""Resize: reference against onnxruntime, lowering against reference, closed forms of the samples, symbolic sizes, error messages."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from edgec.errors import TypeMismatch, Unsupported
from edgec.evaluate import evaluate_op
from edgec.expr import fresh, read, var
from edgec.graph import constant, graph_input, run_reference
from edgec.kernel import Buffer
from edgec.lowering import lower_op
from edgec.ops.resize import CHOICES, Resize
from edgec.sweeps import evaluate_dim, walk
from edgec.types import TensorType, bf16, f32

quick = settings(deadline=None, max_examples=25)
SCALES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # exact in f32, so that onnxruntime's coordinates are exact where they matter


def value(name, *shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def floats(*numbers):
    return np.array(numbers, np.float32)


def image(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


MODES = st.sampled_from(CHOICES["coordinate_transformation_mode"][:-1])


@given(st.sampled_from(SCALES), st.sampled_from(SCALES), st.integers(2, 6), st.integers(2, 6), MODES,
       st.sampled_from(CHOICES["nearest_mode"]), st.integers(0, 99))
@quick
def test_nearest_by_scales(check, sy, sx, h, w, coordinates, nearest, seed):
    assume(coordinates != "align_corners" or (sy * h).is_integer() and (sx * w).is_integer())
    if coordinates == "align_corners":
        nearest = "floor" if nearest == "ceil" else nearest  # a coordinate that f32 rounds up is taken one further
    check(Resize, [image(seed, 1, 2, h, w), None, floats(1, 1, sy, sx)], constants=(2,), mode="nearest", nearest_mode=nearest,
          coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@given(st.sampled_from(SCALES), st.sampled_from(SCALES), st.integers(2, 6), st.integers(2, 6), MODES, st.integers(0, 1), st.integers(0, 99))
@quick
def test_interpolation_by_scales(check, mode, sy, sx, h, w, coordinates, exclude, seed):
    fractional = not ((sy * h).is_integer() and (sx * w).is_integer())
    assume(not (coordinates in ("align_corners", "half_pixel_symmetric") and fractional))  # onnxruntime rounds the length there
    assume(int(sy * h) > 1 and int(sx * w) > 1)
    x = image(seed, 1, 2, h, w)
    check(Resize, [x, None, floats(1, 1, sy, sx)], constants=(2,), mode=mode, terms=256, magnitude=4 * float(np.abs(x).max()),
          coordinate_transformation_mode=coordinates, exclude_outside=exclude if mode == "cubic" else 0, cubic_coeff_a=-0.5)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7), st.integers(1, 7), st.sampled_from(("half_pixel", "align_corners")))
@quick
def test_linear_by_sizes(check, h, w, oh, ow, coordinates):
    x = image(h + w, 1, 1, h, w)
    check(Resize, [x, None, None, np.array([1, 1, oh, ow])], constants=(3,), mode="linear", terms=256, magnitude=float(np.abs(x).max()),
          coordinate_transformation_mode=coordinates)


@given(st.integers(2, 7), st.integers(2, 7), st.lists(st.sampled_from((-0.25, 0.0, 0.25, 0.5)), min_size=2, max_size=2),
       st.lists(st.sampled_from((0.75, 1.0, 1.25)), min_size=2, max_size=2))
@quick
def test_crop_and_resize(check, oh, ow, start, end):
    assume(oh != 5 and ow != 9)  # onnxruntime ignores the region along an axis of unchanged size
    roi = floats(0, 0, *start, 1, 1, *end)
    x = image(7, 1, 1, 5, 9)  # sizes less one are powers of two, so that coordinates on the border are exact
    check(Resize, [x, roi, None, np.array([1, 1, oh, ow])], constants=(1, 3), mode="linear", terms=256, magnitude=4.0,
          coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=0.5)


@pytest.mark.parametrize("policy", CHOICES["keep_aspect_ratio_policy"])
@pytest.mark.parametrize("axes", [(2, 3), (3, 2)])
def test_aspect_ratio_policies_and_axes(check, policy, axes):
    check(Resize, [image(1, 1, 2, 4, 6), None, None, np.array([8, 9])], constants=(3,), mode="nearest", axes=axes,
          keep_aspect_ratio_policy=policy)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sizes", [(3, 8), (5, 12), (12, 9)])
def test_antialias_preserves_the_interior_of_a_ramp(check, mode, sizes):
    x = np.broadcast_to(np.arange(24, dtype=np.float32), (1, 1, 10, 24)).copy()
    [y] = check(Resize, [x, None, None, np.array([1, 1, *sizes])], constants=(3,), mode=mode, antialias=1, terms=512, oracle=False)
    centers = (np.arange(sizes[1]) + 0.5) * 24 / sizes[1] - 0.5
    reach = (1 if mode == "linear" else 2) * 24 / sizes[1]
    inner = (centers - reach >= 0) & (centers + reach <= 23)
    symmetric = np.isclose(centers % 1, 0.5) | np.isclose(centers % 1, 0) | np.isclose(centers % 1, 1)
    wanted = centers[inner & symmetric]
    assert len(wanted)
    np.testing.assert_allclose(y[0, 0][:, inner & symmetric], np.broadcast_to(wanted, (sizes[0], len(wanted))), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, bf16.numpy, np.uint8, np.int8, np.int32])
@pytest.mark.parametrize("mode", CHOICES["mode"])
def test_other_types(check, dtype, mode):
    x = (np.random.default_rng(2).standard_normal((1, 2, 3, 4)) * 50).astype(dtype)
    check(Resize, [x, None, floats(1, 1, 2, 2)], constants=(2,), mode=mode, terms=64, magnitude=400.0, oracle=False)


def test_cubic_integers_saturate(check):
    x = np.tile(np.array([0, 0, 255, 255], np.uint8), (1, 1, 4, 1))
    [y] = check(Resize, [x, None, floats(1, 1, 2, 2)], constants=(2,), mode="cubic", oracle=False)
    assert y.min() == 0 and y.max() == 255


def lowered(op):
    at = [fresh("i", 0, d - 1) for d in op.output.shape]
    return lower_op(op, at, read)[0], at


def tables(root):
    return [n.data for n in walk(root) if n.op == "read" and isinstance(n.data, Buffer)]


def test_nearest_by_an_integer_factor_is_a_division():
    op = Resize(value("x", 1, 3, 4, 5), None, constant(floats(1, 1, 2, 3)), coordinate_transformation_mode="asymmetric",
                nearest_mode="floor")
    root, (n, c, y, x) = lowered(op)
    assert root is read(op.x, (n, c, y // 2, x // 3))


def test_linear_by_an_integer_factor_needs_no_table_of_positions():
    op = Resize(value("x", 1, 3, 4, 5), None, constant(floats(1, 1, 2, 2)), mode="linear")
    assert {t.shape for t in tables(lowered(op)[0])} == {(2, 2)}


def test_an_odd_factor_reads_tables():
    op = Resize(value("x", 1, 3, 17), None, None, constant(np.array([1, 3, 23])), mode="linear")
    assert {(t.shape, t.dtype.name) for t in tables(lowered(op)[0])} == {((2, 23), "i32"), ((2, 23), "f32")}


@pytest.mark.parametrize("mode, scale", [("nearest", 2.0), ("nearest", 0.5), ("linear", 2.0), ("linear", 1.5), ("cubic", 4.0)])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_symbolic_sizes(mode, scale, coordinates):
    n, h = var("n", 1, 4), var("h", 2, 20)
    op = Resize(value("x", n, 2, h), None, constant(floats(1, 1, scale)), mode=mode, coordinate_transformation_mode=coordinates)
    for batch, rows in ((2, 2), (1, 5), (4, 19)):
        x = image(rows, batch, 2, rows)
        arrays = [x, op.scales.array]
        [expected] = run_reference(op, arrays)
        assert expected.shape == tuple(evaluate_dim(d, {"n": batch, "h": rows}) for d in op.output.shape)
        np.testing.assert_allclose(evaluate_op(op, arrays)[0], expected, rtol=1e-5, atol=1e-5)


def test_coordinates_are_exact_fractions():
    op = Resize(value("x", 3), None, None, constant(np.array([7])), coordinate_transformation_mode="asymmetric", nearest_mode="ceil")
    assert op._sampling.sources(3, 7, Fraction(7, 3), (Fraction(0), Fraction(1)))[:3] == [0, Fraction(3, 7), Fraction(6, 7)]
    up = Resize(value("x", 7), None, None, constant(np.array([3])), coordinate_transformation_mode="asymmetric", nearest_mode="ceil")
    np.testing.assert_array_equal(run_reference(up, [np.arange(7, dtype=np.float32), np.array([3])])[0], [0, 3, 5])


X = value("x", 1, 3, 4, 5)
ONES = constant(floats(1, 1, 2, 2))


@pytest.mark.parametrize("error, make, message", [
    (TypeMismatch, lambda: Resize(X, None, ONES, mode="area"), "mode is 'area'"),
    (TypeMismatch, lambda: Resize(X, None, ONES, antialias=1), "antialias needs mode linear or cubic"),
    (TypeMismatch, lambda: Resize(X), "exactly one of scales and sizes"),
    (TypeMismatch, lambda: Resize(X, None, ONES, constant(np.array([1, 3, 8, 10]))), "exactly one of scales and sizes"),
    (TypeMismatch, lambda: Resize(X, None, constant(floats(2, 2))), "scales has 2 entries for 4 axes"),
    (TypeMismatch, lambda: Resize(X, None, constant(floats(1, 1, 2, -1))), "it must be positive"),
    (TypeMismatch, lambda: Resize(X, None, None, constant(np.array([1, 3, 0, 5]))), "every size must be positive"),
    (TypeMismatch, lambda: Resize(X, None, ONES, coordinate_transformation_mode="tf_crop_and_resize"), "roi must hold 8 numbers"),
    (TypeMismatch, lambda: Resize(X, None, constant(floats(2)), axes=(4,)), "axis 4 is outside"),
    (Unsupported, lambda: Resize(X, None, value("scales", 4)), "scales %scales is not known at compile time"),
    (Unsupported, lambda: Resize(value("x", var("n", 1, 9)), None, constant(floats(0.7))), "cannot be scaled by"),
    (Unsupported, lambda: Resize(value("x", var("n", 1, 9)), None, None, constant(np.array([4]))), "the factor from size n to 4"),
    (Unsupported, lambda: Resize(value("x", var("n", 1, 9)), None, constant(floats(2)), coordinate_transformation_mode="align_corners"),
     "an axis of symbolic size n with scale 2.0, align_corners"),
])
def test_errors(error, make, message):
    with pytest.raises(error, match=message):
        make()
