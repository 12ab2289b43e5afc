"""Fourier transforms and what leads to spectrograms: DFT STFT MelWeightMatrix.

A transform is its definition, sum over n of x[n] * exp(-2 pi i k n / N), with one table of cosines and one of sines read at k * n mod N and
sums in f64. A complex number is two elements of the last axis.

    DFT(x, axis=axis, onesided=1).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.expr import Expr, as_expr, cast, compare, const, read, select, sum_over
from edgec.graph import Op, Value, constant
from edgec.kernel import Buffer
from edgec.lowering import Reader
from edgec.onnx.tensor import dtype_of_code
from edgec.ops.accumulation import rounded
from edgec.ops.shape_arithmetic import known, known_numbers, normal_axis
from edgec.types import TensorType, f64, index


def waves(length: int) -> tuple[Buffer, Buffer]:
    """cos and sin of 2 pi k / length, exact at the quarters."""
    angle = 2 * np.pi * np.arange(length) / length
    tables = np.cos(angle), np.sin(angle)
    quarter = np.arange(length) * 4 % length == 0
    return tuple(Buffer(n, f64, (length,), "constant", data=np.where(quarter, np.rint(t), t)) for n, t in zip(("cos", "sin"), tables))


class DFT(Op):
    """ONNX DFT: the discrete Fourier transform along an axis, or its inverse; `onesided` is the half that real signals need (DFT-20)."""

    x: Value
    dft_length: Value | None = None
    axis: Value | None = None
    inverse: int = 0
    onesided: int = 0

    def infer(self) -> TensorType:
        rank = self.x.type.rank
        self.require(self.x.dtype.is_float, f"needs floats, the operand is {self.x.type}")
        self.require(rank >= 2 and self.x.shape[-1] in (1, 2), f"the last axis must hold 1 or 2 elements, the operand is {self.x.type}")
        self.require(not self.onesided or self.inverse or self.x.shape[-1] == 1, "the onesided transform needs a real signal")
        place = normal_axis(self, -2 if self.axis is None else known_numbers(self, self.axis, "the axis")[0], rank)
        self.require(place < rank - 1, "the axis cannot be the last one")
        size = self.x.shape[place]
        if not isinstance(size, int):
            raise Unsupported("DFT along a symbolic axis", loc=self._pending_loc, hint="give the dimension a fixed size")
        length = 2 * (size - 1) if self._real_result else size
        if self.dft_length is not None:
            length = known_numbers(self, self.dft_length, "the length")[0]
        self.require(length > 0, f"the length is {length}")
        self._place, self._length = place, length
        count = length // 2 + 1 if self.onesided and not self.inverse else length
        parts = 1 if self._real_result else 2
        return self.x.type.with_shape((*self.x.shape[:place], count, *self.x.shape[place + 1:-1], parts))

    @property
    def _real_result(self) -> bool:
        return bool(self.onesided and self.inverse)

    def reference(self, x: np.ndarray, dft_length: Any, axis: Any) -> np.ndarray:
        wide = x.astype(np.float64)
        signal = wide[..., 0] if x.shape[-1] == 1 else wide[..., 0] + 1j * wide[..., 1]
        if self._real_result:
            return rounded(np.fft.irfft(signal, self._length, self._place)[..., None], self.x.dtype)
        found = (np.fft.ifft if self.inverse else np.fft.fft)(signal, self._length, self._place)
        found = found.take(range(self.output.shape[self._place]), self._place)
        return rounded(np.stack([found.real, found.imag], -1), self.x.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader, dft_length: Any, axis: Any) -> Expr:
        place, cosine, sine = self._place, *waves(self._length)
        k, terms = at[place], min(x.shape[place], self._length // 2 + 1 if self._real_result else self._length)

        def part(n: Expr, number: int) -> Expr:
            return cast(x(*at[:place], n, *at[place + 1:-1], number), f64)

        def turn(n: Expr) -> tuple[Expr, Expr]:
            where = (k * n) % self._length
            wave = read(sine, (where,))
            return read(cosine, (where,)), -wave if self.inverse else wave

        def real(n: Expr) -> Expr:
            c, s = turn(n)
            return part(n, 0) * c if x.shape[-1] == 1 else part(n, 0) * c + part(n, 1) * s

        def imaginary(n: Expr) -> Expr:
            c, s = turn(n)
            return -(part(n, 0) * s) if x.shape[-1] == 1 else part(n, 1) * c - part(n, 0) * s

        if self._real_result:
            total = sum_over(terms, lambda n: real(n) * self._weight(n))
        else:
            total = select(compare("eq", at[-1], 0), sum_over(terms, real), sum_over(terms, imaginary))
        return cast(total * (1.0 / self._length) if self.inverse else total, x.dtype)

    def _weight(self, n: Expr) -> Expr:
        """How often a coefficient of a half spectrum counts: its mirror image is left out, but for those that have none."""
        last = as_expr(self._length // 2 if self._length % 2 == 0 else -1, index)
        return select(compare("eq", n, 0) | compare("eq", n, last), const(1.0, f64), const(2.0, f64))


class STFT(Op):
    """ONNX STFT: the Fourier transforms of frames of a signal, `frame_step` apart, each weighted by a window (STFT-17)."""

    signal: Value
    frame_step: Value
    window: Value | None = None
    frame_length: Value | None = None
    onesided: int = 1

    def infer(self) -> TensorType:
        shape = self.signal.shape
        self.require(self.signal.type.rank in (2, 3), f"the signal must be [batch, length, 1 or 2], it is {self.signal.type}")
        self.require(len(shape) == 2 or shape[2] in (1, 2), f"the last axis must hold 1 or 2 elements: {self.signal.type}")
        self.require(self.signal.dtype.is_float, f"needs floats, the signal is {self.signal.type}")
        self.require(not self.onesided or len(shape) == 2 or shape[2] == 1, "the onesided transform needs a real signal")
        step = known_numbers(self, self.frame_step, "the frame step")[0]
        if self.frame_length is not None:
            length = known_numbers(self, self.frame_length, "the frame length")[0]
        else:
            self.require(self.window is not None, "needs a window or a frame length")
            length = self.window.shape[0]
        self.require(self.window is None or self.window.shape == (length,), f"the window must be [{length}]")
        if not isinstance(shape[1], int):
            raise Unsupported("STFT of a symbolic length", loc=self._pending_loc, hint="give the dimension a fixed size")
        self.require(step > 0 and 0 < length <= shape[1], f"frames of {length}, {step} apart, in {shape[1]} samples")
        self._step, self._length = step, length
        bins = length // 2 + 1 if self.onesided else length
        return self.signal.type.with_shape((shape[0], (shape[1] - length) // step + 1, bins, 2))

    def reference(self, signal: np.ndarray, frame_step: Any, window: np.ndarray | None, frame_length: Any) -> np.ndarray:
        wide = signal.astype(np.float64)
        wave = wide if signal.ndim == 2 else wide[..., 0] if signal.shape[2] == 1 else wide[..., 0] + 1j * wide[..., 1]
        starts = np.arange(self.output.shape[1]) * self._step
        frames = wave[:, starts[:, None] + np.arange(self._length)] * (1.0 if window is None else window.astype(np.float64))
        found = np.fft.fft(frames, axis=-1)[..., :self.output.shape[2]]
        return rounded(np.stack([found.real, found.imag], -1), self.signal.dtype)

    def decompose(self) -> Value:
        """The frames, gathered and weighted, and their transform."""
        from edgec.ops.arithmetic import Mul
        from edgec.ops.gather import Gather
        from edgec.ops.reshape import Reshape
        shape = self.signal.shape
        parts = 1 if len(shape) == 2 else shape[2]
        signal = Reshape(self.signal, constant(np.array([shape[0], shape[1], parts]))).output
        starts = np.arange(self.output.shape[1]) * self._step
        frames = Gather(signal, constant(starts[:, None] + np.arange(self._length)), axis=1).output
        if self.window is not None:
            frames = Mul(frames, Reshape(self.window, constant(np.array([self._length, 1]))).output).output
        return DFT(frames, axis=constant(np.array(2)), onesided=self.onesided).output


class MelWeightMatrix(Op):
    """ONNX MelWeightMatrix: how much each bin of a spectrum counts in each of `num_mel_bins` triangular filters (MelWeightMatrix-17)."""

    num_mel_bins: Value
    dft_length: Value
    sample_rate: Value
    lower_edge_hertz: Value
    upper_edge_hertz: Value
    output_datatype: int = 1

    def infer(self) -> TensorType:
        bins, length = (known_numbers(self, v, w)[0] for v, w in ((self.num_mel_bins, "the bins"), (self.dft_length, "the length")))
        for value, what in ((self.sample_rate, "the rate"), (self.lower_edge_hertz, "the edge"), (self.upper_edge_hertz, "the edge")):
            known(self, value, what)
        return TensorType(dtype_of_code(self.output_datatype, "the result", self._pending_loc), (length // 2 + 1, bins))

    def reference(self, *numbers: np.ndarray) -> np.ndarray:
        bins, length, rate, low, high = (float(np.asarray(n).reshape(())) for n in numbers)
        mels = 2595.0 * np.log10(1.0 + np.array([low, high]) / 700.0)
        edges = np.arange(int(bins) + 2) * ((mels[1] - mels[0]) / (bins + 2)) + mels[0]
        places = ((length + 1) * (700.0 * (10.0 ** (edges / 2595.0) - 1.0)) // rate).astype(np.int64)
        result = np.zeros((int(length) // 2 + 1, int(bins)))
        for n, (left, middle, right) in enumerate(zip(places, places[1:], places[2:])):
            rise, fall = np.arange(left, middle + 1), np.arange(middle, right)
            result[rise, n] = (rise - left) / (middle - left) if middle > left else 1.0
            result[fall, n] = (right - fall) / max(right - middle, 1)
        return rounded(result, self.output.dtype)

    def decompose(self) -> Value:
        """The matrix itself: all it depends on is known."""
        return constant(self.reference(*(np.array(v.elements[0]) for v in self.operands)))
