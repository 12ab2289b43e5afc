"""Recurrent layers: LSTM, GRU and RNN over whole sequences, in one or both directions.

All share one frame: x [t, b, i] (layout 1: [b, t, i]), weights w [directions, gates * hidden, i] and r [directions, gates * hidden,
hidden], biases b [directions, 2 * gates * hidden] (of w, then of r), lengths [b], first states [directions, b, hidden]. Results are the
outputs of all steps [t, directions, b, hidden] and the last states. They are compiled through simpler operators: one MatMul projects the
inputs of all steps, a Scan runs the rest of the cell over them.

    LSTM(x, w, r, b, initial_h=h, initial_c=c, direction="bidirectional", outputs=3).results      # y, y_h, y_c
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgec.graph import Op, Value
from edgec.ops.accumulation import accumulator, rounded
from edgec.ops.arithmetic import Add, Clip, Mul, Sub
from edgec.ops.cell_activation import Activation, Emit, cell_activations, literal
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.reshape import Transpose
from edgec.ops.shape_arithmetic import Dim, same_shape, shape_text
from edgec.ops.unrolled_cell import Emitter, Sequences, converted, entry, joined, live_steps, piece, pieces, run_cell, zeros
from edgec.types import TensorType, i32

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}  # whether each direction runs backward


class Recurrent(Op):
    """Base of recurrent layers. A layer says its step twice: `exact_step` in numpy, `step` in operators on a projected input.

    `gates` is how many rows of weights each hidden element has, `default` the names of the activations of one direction, `bounded` which of
    these get an argument within [-clip, clip].
    """

    abstract = True
    gates = 1
    default = ("Tanh",)
    bounded = (True, True, False)
    x: Value
    w: Value
    r: Value
    b: Value | None = None
    sequence_lens: Value | None = None
    initial_h: Value | None = None
    activations: tuple = ()
    activation_alpha: tuple = ()
    activation_beta: tuple = ()
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None
    layout: int = 0
    outputs: int = 1

    @property
    def backward(self) -> tuple[bool, ...]:
        """Whether each direction runs from the last step to the first."""
        return DIRECTIONS[self.direction]

    @property
    def hidden(self) -> int:
        return self.r.shape[2]

    @property
    def first_states(self) -> tuple[Value | None, ...]:
        """The state operands, the hidden state first."""
        return (self.initial_h,)

    def infer(self) -> TensorType | tuple[TensorType, ...]:
        self._require_attributes()
        self.require(self.x.type.rank == self.r.type.rank == 3, f"x and r have ranks {self.x.type.rank} and {self.r.type.rank}, not 3")
        steps, batch, width = [self.x.shape[n] for n in ((1, 0, 2) if self.layout else (0, 1, 2))]
        count, rows = len(self.backward), self.gates * self.hidden
        state = (batch, count, self.hidden) if self.layout else (count, batch, self.hidden)
        self.require(self.hidden_size in (None, self.hidden), f"hidden_size is {self.hidden_size}, r is {self.r.type}")
        self._require_shapes({"w": (count, rows, width), "r": (count, rows, self.hidden), "b": (count, 2 * rows), "sequence_lens": (batch,),
                              "initial_h": state, "initial_c": state, "p": (count, 3 * self.hidden)})
        y = (batch, steps, count, self.hidden) if self.layout else (steps, count, batch, self.hidden)
        types = tuple(self.x.type.with_shape(s) for s in (y, *(state for _ in self.first_states)))
        return types[:self.outputs] if self.outputs > 1 else types[0]

    def _require_attributes(self) -> None:
        self.require(self.direction in DIRECTIONS, f"direction '{self.direction}' is none of {', '.join(DIRECTIONS)}")
        self.require(self.layout in (0, 1), f"layout is {self.layout}, not 0 or 1")
        self.require(self.clip is None or self.clip > 0, f"clip is {self.clip}; a positive bound is needed")
        counts = (len(self.default) * len(self.backward), 2 * len(self.default))  # RNN has a default for two directions in the schema
        self.require(not self.activations or len(self.activations) in counts,
                     f"{len(self.activations)} activations are given, {counts[0]} are needed")
        self._activations(0)
        floats = [v for v in self.operands if v is not self.sequence_lens]
        self.require(self.x.dtype.is_float and all(v.dtype is self.x.dtype for v in floats), "operands must have one float type")
        self.require(self.sequence_lens is None or self.sequence_lens.dtype is i32, "sequence_lens must be i32")

    def _require_shapes(self, wanted: dict[str, tuple[Dim, ...]]) -> None:
        self.require(isinstance(self.hidden, int), f"the hidden size {self.hidden} must be a number")
        for name, shape in wanted.items():
            value = getattr(self, name, None)
            if value is not None:
                self.require(same_shape(value.shape, shape), f"{name} is {value.type}, its shape must be {shape_text(shape)}",
                             hint=f"direction is {self.direction}, layout is {self.layout}")

    def _activations(self, direction: int) -> tuple[Activation, ...]:
        """The functions of one direction."""
        count = len(self.default)
        names = self.activations or self.default * len(self.backward)
        every = cell_activations(self, names[:count * len(self.backward)], self.activation_alpha, self.activation_beta)
        return every[count * direction:count * (direction + 1)]

    # The oracle.

    def reference(self, x, w, r, b, sequence_lens, initial_h, initial_c=None, p=None):
        wide = [None if a is None else a.astype(np.float64) for a in (x, w, r, b, p)]
        states = [None if a is None else a.astype(np.float64) for a in (initial_h, initial_c)[:len(self.first_states)]]
        if self.layout:
            wide[0] = wide[0].swapaxes(0, 1)
            states = [None if s is None else s.swapaxes(0, 1) for s in states]
        results = self._exact_run(*wide, sequence_lens, states)
        if self.layout:
            results = [results[0].transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in results[1:])]
        return tuple(rounded(a, self.x.dtype) for a in results[:self.outputs])

    def _exact_run(self, x, w, r, b, p, lengths, first) -> list[np.ndarray]:
        """y [t, directions, b, hidden] and the last states, in float64."""
        steps, batch, _ = x.shape
        count, rows, hidden = r.shape
        b = np.zeros((count, 2 * rows)) if b is None else b
        p = np.zeros((count, 3 * hidden)) if p is None else p
        states = [np.zeros((count, batch, hidden)) if s is None else s.copy() for s in first]
        y = np.zeros((steps, count, batch, hidden))
        for n, backward in enumerate(self.backward):
            functions = [self._clipped(a.exact, bounded) for a, bounded in zip(self._activations(n), self.bounded)]
            for t in reversed(range(steps)) if backward else range(steps):
                live = np.full((batch, 1), True) if lengths is None else (t < lengths)[:, None]
                new = self.exact_step(functions, x[t], [s[n] for s in states], w[n], r[n], b[n, :rows], b[n, rows:], p[n])
                for state, after in zip(states, new):
                    state[n] = np.where(live, after, state[n])
                y[t, n] = np.where(live, new[0], 0)
        return [y, *states]

    def _clipped(self, function: Callable[[np.ndarray], np.ndarray], bounded: bool) -> Callable[[np.ndarray], np.ndarray]:
        return function if self.clip is None or not bounded else lambda x: function(np.clip(x, -self.clip, self.clip))

    # As simpler operators.

    def decompose(self) -> Value | tuple[Value, ...]:
        return self.written()

    def written(self, product: Callable[[Value, Value], Value] | None = None) -> Value | tuple[Value, ...]:
        """The layer as simpler operators; `product(a, w)` writes the matrix products of a tensor and constant weights (None: a MatMul)."""
        emit, wide = Emitter(self.loc, product), accumulator(self.x.dtype)
        time_major = lambda v: emit(Transpose, v, perm=(1, 0, *range(2, v.type.rank))) if self.layout else v
        x = time_major(converted(emit, self.x, wide))
        live = live_steps(emit, x, self.sequence_lens)
        runs = [self._run(emit, n, x, live) for n in range(len(self.backward))]
        *states, ys = (list(column) for column in zip(*runs))
        y = joined(emit, [time_major(v) for v in ys], axis=2 if self.layout else 1)
        results = [y, *(joined(emit, s, axis=1 if self.layout else 0) for s in states)]
        narrow = tuple(converted(emit, v, self.x.dtype) for v in results[:len(self.results)])
        return narrow if len(narrow) > 1 else narrow[0]

    def _run(self, emit: Emit, n: int, x: Value, live: Value | None) -> tuple[Value, ...]:
        """(last states..., outputs) of the n-th direction."""
        part = lambda v, axis=0: None if v is None else converted(emit, entry(emit, v, n, axis), x.dtype)
        projected = emit(MatMul, x, emit(Transpose, part(self.w)))
        rows = self.gates * self.hidden
        outer, weights = self.recurrent_weights(emit, emit(Transpose, part(self.r)), self._biases(emit, part(self.b), rows))
        if outer is not None:
            projected = emit(Add, projected, outer)
        peepholes = part(getattr(self, "p", None))
        weights = (*weights, *(() if peepholes is None else pieces(emit, peepholes, 3)))
        states = [zeros(emit, x, self.hidden) if s is None else part(s, self.layout) for s in self.first_states]
        functions = [self._clipped_build(a, bounded) for a, bounded in zip(self._activations(n), self.bounded)]
        step = lambda emit, projected, states, weights: self.step(emit, functions, projected, states, weights)
        name = f"{self.results[0].name.removesuffix('.0')}.{'backward' if self.backward[n] else 'forward'}"
        return run_cell(emit, step, Sequences(projected, live), states, weights, self.backward[n], name)

    def _biases(self, emit: Emit, b: Value | None, rows: int) -> tuple[Value, Value] | None:
        """The bias of the inputs and that of the states, [gates * hidden] each."""
        return None if b is None else (piece(emit, b, 0, rows), piece(emit, b, rows, 2 * rows))

    def recurrent_weights(self, emit: Emit, r: Value, biases: tuple[Value, Value] | None) -> tuple[Value | None, tuple[Value, ...]]:
        """(what is added to all projected inputs, what a step needs), from r [hidden, gates * hidden] and the biases."""
        return (None if biases is None else emit(Add, *biases)), (r,)

    def _clipped_build(self, activation: Activation, bounded: bool) -> Callable[[Emit, Value], Value]:
        if self.clip is None or not bounded:
            return activation.build
        return lambda emit, x: activation.build(emit, emit(Clip, x, literal(-self.clip, x), literal(self.clip, x)))


class RNN(Recurrent):
    """ONNX RNN: h = f(x W^T + h R^T + biases) at every step (RNN-22)."""

    activations: tuple = ("Tanh", "Tanh")

    def exact_step(self, functions, x, states, w, r, wb, rb, p):
        return (functions[0](x @ w.T + states[0] @ r.T + wb + rb),)

    def step(self, emit: Emit, functions: Sequence[Callable[..., Value]], x: Value, states: Sequence[Value],
             weights: Sequence[Value]) -> tuple[Value, ...]:
        return (functions[0](emit, emit(Add, x, emit(MatMul, states[0], weights[0]))),)


class GRU(Recurrent):
    """ONNX GRU: a state mixed by the update gate z = f(..) from itself and g(x W^T + (reset gate * h) R^T + biases) (GRU-22).

    With linear_before_reset the reset gate scales h R^T and its bias instead of h.
    """

    gates = 3
    default = ("Sigmoid", "Tanh")
    linear_before_reset: int = 0

    def exact_step(self, functions, x, states, w, r, wb, rb, p):
        (h,), (f, g) = states, functions
        (wz, wr, wh), (rz, rr, rh), (bz, br, bh), (cz, cr, ch) = (np.split(a, 3) for a in (w, r, wb, rb))
        z = f(x @ wz.T + h @ rz.T + bz + cz)
        reset = f(x @ wr.T + h @ rr.T + br + cr)
        recurrent = reset * (h @ rh.T + ch) if self.linear_before_reset else (reset * h) @ rh.T + ch
        return ((1 - z) * g(x @ wh.T + bh + recurrent) + z * h,)

    def recurrent_weights(self, emit: Emit, r: Value, biases: tuple[Value, Value] | None) -> tuple[Value | None, tuple[Value, ...]]:
        """Before the reset gate there is one matrix, but the bias of the candidate stays in the step; after it there are two matrices."""
        split = 2 * self.hidden
        if not self.linear_before_reset:
            outer = None if biases is None else emit(Add, *biases)
            return outer, (piece(emit, r, 0, split), piece(emit, r, split, split + self.hidden))
        if biases is None:
            return None, (r,)
        gates = emit(Add, *(piece(emit, v, 0, split) for v in biases))
        candidates = [piece(emit, v, split, split + self.hidden) for v in biases]
        return emit(Concat, (gates, candidates[0]), axis=0), (r, candidates[1])

    def step(self, emit: Emit, functions: Sequence[Callable[..., Value]], x: Value, states: Sequence[Value],
             weights: Sequence[Value]) -> tuple[Value, ...]:
        (h,), (f, g), split = states, functions, 2 * self.hidden
        recurrent = emit(MatMul, h, weights[0])
        gates = emit(Add, piece(emit, x, 0, split), piece(emit, recurrent, 0, split) if self.linear_before_reset else recurrent)
        z, reset = (f(emit, v) for v in pieces(emit, gates, 2))
        if self.linear_before_reset:
            scaled = piece(emit, recurrent, split, split + self.hidden)
            scaled = emit(Mul, reset, emit(Add, scaled, weights[1]) if len(weights) > 1 else scaled)
        else:
            scaled = emit(MatMul, emit(Mul, reset, h), weights[1])
        candidate = g(emit, emit(Add, piece(emit, x, split, split + self.hidden), scaled))
        return (emit(Add, emit(Mul, emit(Sub, literal(1.0, z), z), candidate), emit(Mul, z, h)),)


class LSTM(Recurrent):
    """ONNX LSTM: c = f * c + i * g(..), h = o * h(c), gates i, o, f = f(x W^T + h R^T + biases + peepholes * c) (LSTM-22).

    `input_forget` couples the gates: f = 1 - i. `clip` bounds what goes into the gates and the candidate; like onnxruntime, not the cell.
    """

    gates = 4
    default = ("Sigmoid", "Tanh", "Tanh")
    initial_c: Value | None = None
    p: Value | None = None
    input_forget: int = 0

    @property
    def first_states(self) -> tuple[Value | None, ...]:
        return self.initial_h, self.initial_c

    def exact_step(self, functions, x, states, w, r, wb, rb, p):
        (h, c), (f, g, squash), (pi, po, pf) = states, functions, np.split(p, 3)
        i, o, forget, candidate = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=1)
        i = f(i + pi * c)
        forget = 1 - i if self.input_forget else f(forget + pf * c)
        c = forget * c + i * g(candidate)
        return f(o + po * c) * squash(c), c

    def step(self, emit: Emit, functions: Sequence[Callable[..., Value]], x: Value, states: Sequence[Value],
             weights: Sequence[Value]) -> tuple[Value, ...]:
        (h, c), (f, g, squash), (r, *peepholes) = states, functions, weights
        i, o, forget, candidate = pieces(emit, emit(Add, x, emit(MatMul, h, r)), 4)
        pi, po, pf = peepholes or (None, None, None)
        peep = lambda gate, weight, cell: gate if weight is None else emit(Add, gate, emit(Mul, weight, cell))
        i = f(emit, peep(i, pi, c))
        forget = emit(Sub, literal(1.0, i), i) if self.input_forget else f(emit, peep(forget, pf, c))
        c = emit(Add, emit(Mul, forget, c), emit(Mul, i, g(emit, candidate)))
        return emit(Mul, f(emit, peep(o, po, c)), squash(emit, c)), c
