"""Spectra, grids and regions: references against onnxruntime or numpy, formulas and compiled code against the references."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch, Unsupported
from edgec.graph import constant, graph_input
from edgec.ops.bit_cast import BitCast
from edgec.ops.grid import GridSample
from edgec.ops.regions import Col2Im, DeformConv, Det, RoiAlign
from edgec.ops.spectrum import DFT, STFT, MelWeightMatrix
from edgec.types import TensorType, f32, i64

RNG = np.random.default_rng(0)


def value(name, shape, dtype=f32):
    return graph_input(name, TensorType(dtype, shape))


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("parts, inverse, onesided, length", [(1, 0, 0, None), (2, 0, 0, 7), (2, 1, 0, 12), (1, 0, 1, None), (2, 1, 1, None), (2, 1, 1, 9)])
def test_dft(check, parts, inverse, onesided, length):
    arrays = [draw(2, 10, 3, parts), None if length is None else np.array(length), np.array(1)]
    check(DFT, arrays, constants=(1, 2), terms=10, magnitude=30, oracle=False, inverse=inverse, onesided=onesided)


def test_dft_against_onnxruntime(check):
    check(DFT, [draw(2, 8, 1), None, np.array(1)], constants=(2,), terms=10, magnitude=30, opset=20)


@pytest.mark.parametrize("windowed", [False, True])
def test_stft(check, check_compiled, windowed):
    arrays = [draw(1, 32, 1), np.array(8), np.hanning(16).astype(np.float32) if windowed else None, np.array(16)]
    check(STFT, arrays, constants=(1, 3), terms=16, magnitude=50, opset=17)
    check_compiled(lambda x: STFT(x, constant(np.array(8)), None, constant(np.array(16))).output, [arrays[0]], 1e-4)


def test_mel(check):
    numbers = [np.array(8), np.array(16), np.array(8192), np.array(0, np.float32), np.array(8192 / 2, np.float32)]
    check(MelWeightMatrix, numbers, constants=range(5), opset=17)
    made = MelWeightMatrix(*map(constant, numbers))
    np.testing.assert_array_equal(made.decompose().array, made.reference(*numbers))


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(check, mode, padding, align):
    arrays = [draw(2, 2, 5, 4), RNG.uniform(-1.4, 1.4, (2, 3, 4, 2)).astype(np.float32)]
    check(GridSample, arrays, terms=64, magnitude=8, opset=20, mode=mode, padding_mode=padding, align_corners=align)


def test_grid_sample_of_volumes(check, check_compiled):
    arrays = [draw(1, 2, 3, 4, 3), RNG.uniform(-1.2, 1.2, (1, 2, 2, 2, 3)).astype(np.float32)]
    check(GridSample, arrays, terms=64, magnitude=8, opset=20)
    check_compiled(lambda *v: GridSample(*v).output, arrays)


@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(check, check_compiled, mode, coordinates):
    rois = np.float32([[0, 0, 7, 5], [1.5, 2, 3, 6.5], [-2, -2, 12, 12]])
    arrays, attributes = [draw(2, 2, 8, 9), rois, np.array([0, 1, 0])], {"output_height": 2, "output_width": 3, "sampling_ratio": 2}
    attributes |= {"mode": mode, "coordinate_transformation_mode": coordinates, "spatial_scale": 0.9}
    check(RoiAlign, arrays, terms=64, magnitude=8, oracle=mode == "avg", opset=16, **attributes)
    check_compiled(lambda *v: RoiAlign(*v, **attributes).output, arrays)


@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv(check, check_compiled, masked):
    arrays = [draw(1, 4, 5, 5), draw(2, 2, 2, 2), draw(1, 16, 6, 6), draw(2), draw(1, 8, 6, 6)][:5 if masked else 4]
    attributes = {"pads": (1, 1, 1, 1), "group": 2, "offset_group": 2}
    check(DeformConv, arrays, terms=64, magnitude=32, opset=19, kernel_shape=(2, 2), **attributes)
    check_compiled(lambda *v: DeformConv(*v, **attributes).output, arrays, 1e-4)


@pytest.mark.parametrize("image, block, attributes", [
    ((5, 6), (2, 3), {}), ((5, 5), (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}), ((6,), (2,), {"dilations": (3,)}),
])
def test_col2im(check, image, block, attributes):
    strides, pads = attributes.get("strides", (1,) * len(image)), attributes.get("pads", (0,) * 2 * len(image))
    dilations = attributes.get("dilations", (1,) * len(image))
    counts = [(n + pads[k] + pads[k + len(image)] - dilations[k] * (block[k] - 1) - 1) // strides[k] + 1 for k, n in enumerate(image)]
    x = draw(2, 2 * int(np.prod(block)), int(np.prod(counts)))
    check(Col2Im, [x, np.array(image), np.array(block)], constants=(1, 2), terms=9, magnitude=20, opset=18, oracle=len(image) > 1, **attributes)  # onnxruntime fills one channel of 1-D


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_det(check, size):
    check(Det, [draw(3, size, size)], terms=30, magnitude=30)


@pytest.mark.parametrize("source, target", [(np.float32, np.int32), (np.int64, np.float64), (np.float16, np.uint16), (np.bool_, np.uint8), (np.uint8, np.bool_)])
def test_bit_cast(check, check_compiled, source, target):
    from onnx.helper import np_dtype_to_tensor_dtype
    x = (RNG.integers(0, 2, 5) if np.bool_ in (source, target) else RNG.integers(-9, 9, 5)).astype(source)
    code = np_dtype_to_tensor_dtype(np.dtype(target))
    result, = check(BitCast, [x], oracle=False, to=code)
    assert result.tobytes() == x.tobytes()
    check_compiled(lambda v: BitCast(v, to=code).output, [x])


def test_errors():
    with pytest.raises(TypeMismatch, match="f32 has 32 bits, f16 16"):
        BitCast(value("x", (2,)), to=10)
    with pytest.raises(TypeMismatch, match="1 or 2 elements"):
        DFT(value("x", (2, 3)))
    with pytest.raises(TypeMismatch, match="frames of 9"):
        STFT(value("x", (1, 8, 1)), constant(np.array(2)), None, constant(np.array(9)))
    with pytest.raises(TypeMismatch, match="mode is 'square'"):
        GridSample(value("x", (1, 1, 2, 2)), value("g", (1, 2, 2, 2)), mode="square")
    with pytest.raises(TypeMismatch, match="does not name places"):
        GridSample(value("x", (1, 1, 2, 2)), value("g", (1, 2, 2, 3)))
    with pytest.raises(Unsupported, match="sampling_ratio 0"):
        RoiAlign(value("x", (1, 1, 2, 2)), value("r", (1, 4)), value("b", (1,), i64))
    with pytest.raises(TypeMismatch, match="the offsets are"):
        DeformConv(value("x", (1, 1, 3, 3)), value("w", (1, 1, 2, 2)), value("o", (1, 8, 3, 3)))
    with pytest.raises(TypeMismatch, match="does not hold"):
        Col2Im(value("x", (1, 4, 5)), constant(np.array([3, 3])), constant(np.array([2, 2])))
    with pytest.raises(Unsupported, match="9 rows"):
        Det(value("x", (9, 9)))
