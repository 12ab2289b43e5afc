"""Recurrent layers on 8-bit weights whose activations become integers as they run: com.microsoft DynamicQuantizeLSTM.

Every product reads its operand through DynamicQuantizeLinear: the inputs of all steps at once, the hidden state anew at each step. The sums
are exact, in i32; gates and cell are f32. So onnxruntime's dynamic quantization writes an LSTM, and so it runs there.

    DynamicQuantizeLSTM(x, w, r, b, w_scale=s, w_zero_point=z, r_scale=t, r_zero_point=u, hidden_size=128, outputs=3).results
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.ops.quantization import DynamicQuantizeLinear
from edgec.ops.quantized_contrib import Contributed, MatMulIntegerToFloat
from edgec.ops.recurrent import DIRECTIONS, LSTM


class DynamicQuantizeLSTM(Contributed):
    """com.microsoft DynamicQuantizeLSTM: LSTM with 8-bit weights [directions, inputs, 4 * hidden]; x and h are quantized as it runs."""
    x: Value
    w: Value
    r: Value
    b: Value | None = None
    sequence_lens: Value | None = None
    initial_h: Value | None = None
    initial_c: Value | None = None
    p: Value | None = None
    w_scale: Value
    w_zero_point: Value
    r_scale: Value
    r_zero_point: Value
    activation_alpha: tuple = ()
    activation_beta: tuple = ()
    activations: tuple = ()
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None
    input_forget: int = 0
    outputs: int = 1

    def decompose(self) -> Value | tuple[Value, ...]:
        self.require(self.direction in DIRECTIONS, f"direction '{self.direction}' is none of {', '.join(DIRECTIONS)}")
        weights = {"w": (self.w, self.w_scale, self.w_zero_point), "r": (self.r, self.r_scale, self.r_zero_point)}
        if not all(v.is_constant for group in weights.values() for v in group):
            raise Unsupported("DynamicQuantizeLSTM needs constant weights, scales and zero points", loc=self._pending_loc)
        matrices: dict[Value, tuple[Value, Value, Value]] = {}  # by what they stand for: equal constants are one value
        real = {name: self._real(name, *group, matrices) for name, group in weights.items()}
        kept = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget", "outputs")
        plain = LSTM(self.x, real["w"], real["r"], self.b, self.sequence_lens, self.initial_h, self.initial_c, self.p,
                     **{name: getattr(self, name) for name in kept})
        return plain.written(lambda a, w: dynamic_product(a, *matrices[w]))

    def _real(self, name: str, integers: Value, scale: Value, zero: Value, matrices: dict[Value, tuple[Value, Value, Value]]) -> Value:
        """The weights [directions, 4 * hidden, inputs] as an LSTM has them; the matrix of each direction is noted with its integers."""
        self.require(integers.type.rank == 3, f"{name} is {integers.type}, its rank must be 3")
        directions, _, columns = integers.shape
        found = []
        for n in range(directions):
            s, z = (self._of_direction(name, v, n, columns) for v in (scale, zero))
            whole = integers.array[n]
            real = (whole.astype(np.float32) - z.astype(np.float32)) * s
            matrices[constant(real)] = (constant(whole, f"{self.r.name if name == 'r' else self.w.name}.{n}"),
                                        constant(s, f"{name}.scale"), constant(z, f"{name}.zero"))
            found.append(real.T)
        return constant(np.stack(found), integers.name)

    def _of_direction(self, name: str, value: Value, n: int, columns: int) -> np.ndarray:
        """The scale or zero point of one direction: a number, or one a column."""
        array = value.array.reshape(len(DIRECTIONS[self.direction]), -1)[n] if value.array.size > 1 else value.array.reshape(1)
        self.require(array.size in (1, columns), f"{name} has {array.size} scales or zero points a direction; 1 or {columns} are needed")
        return array.reshape(()) if array.size == 1 else array


def dynamic_product(a: Value, w: Value, scale: Value, zero: Value) -> Value:
    """a @ ((w - zero) * scale), with a quantized as it runs: a f32[..., K], w i8 or u8[K, N], scale and zero point one or N numbers."""
    integers, a_scale, a_zero = DynamicQuantizeLinear(a, _name=f"{a.name}.quantized").results
    return MatMulIntegerToFloat(integers, w, a_scale, scale, a_zero, zero).decompose()
