"""Operators with weights as matrix products: the rows that their weights meet, and the weights as matrices.

A convolution is one product a group of channels, a recurrent cell one a direction: its rows are the inputs beside the states before, its
matrix W above R, the gates side by side.

    rows_of(conv, arrays)             # f32[n, groups, K]: at most ROWS of one sample, evenly spaced
    matrices_of(conv, [w])            # f64[groups, K, outputs]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.graph import Op
from edgec.ops.convolution import Conv
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.recurrent import GRU, LSTM, RNN
from edgec.quantize.layer_data import unfolded
from edgec.quantize.streams import Arrays, computed

ROWS = 1024  # of a sample
RECURRENT = (LSTM, GRU, RNN)


def is_product(op: Op) -> bool:
    """A product of data with constant matrices, one or one a group of channels or a direction."""
    if isinstance(op, RECURRENT):
        return op.operands[1].is_constant and op.operands[2].is_constant and op.layout == 0
    return isinstance(op, Conv) or isinstance(op, (Gemm, MatMul)) and op.operands[1].type.rank == 2


def weight_places(op: Op) -> tuple[int, ...]:
    """Which operands of a product are weights."""
    return (1, 2) if isinstance(op, RECURRENT) else (1,)


def matrices_of(op: Op, weights: Sequence[np.ndarray]) -> np.ndarray:
    """The weights as matrices f64[groups, K, outputs]."""
    w = np.asarray(weights[0], np.float64)
    if isinstance(op, RECURRENT):
        return np.concatenate([w, np.asarray(weights[1], np.float64)], 2).swapaxes(1, 2)
    if isinstance(op, Conv):
        return w.reshape(op.group, len(w) // op.group, -1).swapaxes(1, 2)
    return (w.T if getattr(op, "transB", 0) else w)[None]


def weights_of(op: Op, matrices: np.ndarray) -> list[np.ndarray]:
    """The reverse of `matrices_of`: arrays of the shapes of the weights."""
    if isinstance(op, RECURRENT):
        turned, inputs = matrices.swapaxes(1, 2), op.operands[1].shape[2]
        return [turned[:, :, :inputs], turned[:, :, inputs:]]
    if isinstance(op, Conv):
        return [matrices.swapaxes(1, 2).reshape(op.operands[1].shape)]
    return [matrices[0].T if getattr(op, "transB", 0) else matrices[0]]


def rows_of(op: Op, arrays: Arrays) -> np.ndarray:
    """At most ROWS of the rows f32[n, groups, K] that the weights meet in one sample, evenly spaced."""
    x = arrays[0]
    if isinstance(op, RECURRENT):
        return _drawn(_with_states(op, arrays))
    if isinstance(op, Conv):
        shape = op.operands[1].shape
        rows = _drawn(unfolded(op, x, (shape[0], x.shape[1], *shape[2:]), 0))
        return rows.reshape(len(rows), op.group, -1)
    return _drawn((x.T if getattr(op, "transA", 0) else x).reshape(-1, 1, op.operands[1].shape[getattr(op, "transB", 0)]))


def _with_states(op: Op, arrays: Arrays) -> np.ndarray:
    """Inputs and the states before them, f32[steps * batch, directions, inputs + states]."""
    x, states = arrays[0], computed(op, arrays)[0]  # states [steps, directions, batch, hidden]
    fields = {id(v): a for v, a in zip(op.operands, arrays)}
    first = None if op.initial_h is None else fields[id(op.initial_h)]
    first = np.zeros(states.shape[1:], np.float32) if first is None else first
    before = np.empty_like(states)
    for d in range(states.shape[1]):
        backwards = op.direction == "reverse" or d == 1
        before[:, d] = np.concatenate([states[1:, d], first[d][None]] if backwards else [first[d][None], states[:-1, d]])
    inputs = np.broadcast_to(x[:, None], (*states.shape[:3], x.shape[-1]))
    return np.concatenate([inputs, before], 3).swapaxes(1, 2).reshape(-1, states.shape[1], x.shape[-1] + states.shape[-1])


def _drawn(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= ROWS else rows[np.linspace(0, len(rows) - 1, ROWS).astype(int)]
