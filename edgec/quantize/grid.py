"""The grid that real numbers are rounded to: scale, zero point and integer type, for a tensor or for each place of an axis.

A grid means real = (integer - zero point) * scale, as ONNX QuantizeLinear and DequantizeLinear do. Grids of activations lie between two
bounds and contain 0 (padding and Relu must be exact); those of weights are symmetric unless asked otherwise.

    grid = activation_grid(0.0, 6.0, u8)         # scale 6/255, zero point 0
    grid.rounded(x)                              # x as the integers see it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.types import DType, i4, i8, i16, u4, u8

SMALLEST = np.float32(2.0**-100)  # of a scale: products of two scales stay normal numbers
SIGNED = {4: i4, 8: i8, 16: i16}
UNSIGNED = {4: u4, 8: u8}


@dataclass(frozen=True, eq=False)
class Grid:
    """scale f32[] or f32[channels], zero_point of `dtype` and the same shape; a vector lies along `axis`.

    With `block_size` scale and zero point have the operand's rank, one element a block of that many places of `axis`.
    """

    dtype: DType
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0
    block_size: int = 0

    def spread(self, parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Scale or zero point in a shape that broadcasts against a tensor of `shape`."""
        if parameter.ndim == 0:
            return parameter
        axis = self.axis % len(shape)
        if self.block_size:
            return np.repeat(parameter, self.block_size, axis).take(range(shape[axis]), axis)
        return parameter.reshape([-1 if n == axis else 1 for n in range(len(shape))])

    def quantized(self, x: np.ndarray) -> np.ndarray:
        """The integers of real numbers: round half to even of x / scale, plus the zero point, saturated (ONNX QuantizeLinear)."""
        ratio = (np.asarray(x, np.float32) / self.spread(self.scale, np.shape(x))).astype(np.float64)
        whole = np.rint(ratio) + self.spread(self.zero_point, np.shape(x)).astype(np.float64)
        return np.clip(whole, self.dtype.low, self.dtype.high).astype(self.dtype.numpy)

    def real(self, integers: np.ndarray) -> np.ndarray:
        """The f32 numbers that integers stand for (ONNX DequantizeLinear)."""
        zero = self.spread(self.zero_point, integers.shape).astype(np.int64)
        return ((integers.astype(np.int64) - zero).astype(np.float32) * self.spread(self.scale, integers.shape)).astype(np.float32)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Real numbers on the grid: `real(quantized(x))`."""
        return self.real(self.quantized(x))


def activation_grid(low: float, high: float, dtype: DType = u8, power_of_two: bool = False) -> Grid:
    """The finest grid of `dtype` that covers `low` to `high` and has 0 on it; 16-bit ones are symmetric, with zero point 0."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if dtype.bits > 8:
        scale = _scale(max(-low, high) / dtype.high, power_of_two)
        return Grid(dtype, scale, np.zeros((), dtype.numpy))
    scale = _scale((high - low) / (dtype.high - dtype.low), power_of_two)
    zero = np.clip(np.rint(dtype.low - low / float(scale)), dtype.low, dtype.high)
    return Grid(dtype, scale, zero.astype(dtype.numpy))


def weight_grid(w: np.ndarray, axis: int | None, bits: int = 8, symmetric: bool = True, power_of_two: bool = False) -> Grid:
    """The grid of weights f32[...], one scale for each place of `axis` (None: one for all).

    Symmetric grids use -(2^(bits-1) - 1) to 2^(bits-1) - 1 with zero point 0; asymmetric ones the whole signed range.
    """
    others = None if axis is None else tuple(n for n in range(w.ndim) if n != axis % w.ndim)
    low, high = (np.asarray(f(w, axis=others), np.float64) for f in (np.min, np.max))
    dtype = SIGNED[bits]
    if symmetric:
        scale = _scale(np.maximum(-low, high) / dtype.high, power_of_two)
        return Grid(dtype, scale, np.zeros(scale.shape, dtype.numpy), axis or 0)
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = _scale((high - low) / (dtype.high - dtype.low), power_of_two)
    zero = np.clip(np.rint(dtype.low - low / scale.astype(np.float64)), dtype.low, dtype.high)
    return Grid(dtype, scale, zero.astype(dtype.numpy), axis or 0)


def _scale(step: np.ndarray | float, power_of_two: bool) -> np.ndarray:
    """A step as a scale in f32: 1 where all numbers are 0, the next power of two where asked."""
    step = np.asarray(step, np.float64)
    step = np.where(step > 0, np.maximum(step, SMALLEST), 1.0)
    return (2.0 ** np.ceil(np.log2(step)) if power_of_two else step).astype(np.float32)
