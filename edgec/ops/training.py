"""One step of an optimiser: Adagrad Adam Momentum of ai.onnx.preview.training.

The operands are the learning rate, the number of updates before this one, then all parameters, all gradients, and the states in groups; the
results are the new parameters and states in the same order (ONNX operator documentation).

    Momentum(rate, count, (x, gradient, velocity), alpha=0.9, beta=1.0, mode="standard", norm_coefficient=0.0).results
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, binary, cast, compare, const, select, unary
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.shape_arithmetic import same_shape
from edgec.types import TensorType, f32, f64


class Optimiser(Op):
    """Base of the three: `groups` tensors belong to one parameter, the parameter and its gradient first."""

    abstract = True
    domain = "ai.onnx.preview.training"
    r: Value
    t: Value
    inputs: tuple[Value, ...] = ()

    def infer(self) -> tuple[TensorType, ...]:
        count, rest = divmod(len(self.inputs), self.groups)
        self.require(count and not rest, f"{len(self.inputs)} tensors are no groups of {self.groups}")
        self.require(self.r.type.max_size == self.t.type.max_size == 1, "the rate and the count must be one number each")
        for n, value in enumerate(self.inputs):
            first = self.inputs[n % count]
            self.require(value.dtype is first.dtype and value.dtype in (f32, f64) and same_shape(value.shape, first.shape),
                         f"tensor {n} is {value.type}, its parameter {first.type}")
        self._count = count
        return tuple(self.inputs[n].type for _ in range(self.groups - 1) for n in range(count))

    def reference(self, r, t, inputs):
        found = [self.step(np.float64(r), float(t), *(inputs[g * self._count + n].astype(np.float64) for g in range(self.groups)))
                 for n in range(self._count)]
        return tuple(np.asarray(found[n][g]).astype(inputs[n].dtype) for g in range(self.groups - 1) for n in range(self._count))

    def lower(self, at: tuple[Expr, ...], r: Reader, t: Reader, inputs: tuple[Reader, ...]) -> tuple[Expr, ...]:
        rate, count = (cast(x(*[0] * x.rank), f64) for x in (r, t))
        found = [self._stepped(at, rate, count, inputs[n::self._count]) for n in range(self._count)]
        return tuple(found[n][g] for g in range(self.groups - 1) for n in range(self._count))

    def _stepped(self, at: tuple[Expr, ...], rate: Expr, count: Expr, group: tuple[Reader, ...]) -> tuple[Expr, ...]:
        """The results of one parameter at an index; nobody asks for those of another rank."""
        dtype = group[0].dtype
        if group[0].rank != len(at):
            return (const(0, dtype),) * (self.groups - 1)
        return tuple(cast(e, dtype) for e in self.formula(rate, count, *(cast(x(*at), f64) for x in group)))


class Adagrad(Optimiser):
    """ONNX Adagrad: the rate divided by the root of the sum of squared gradients (J. Duchi et al., JMLR 12, 2011)."""

    groups = 3
    decay_factor: float = 0.0
    epsilon: float = 1e-6
    norm_coefficient: float = 0.0

    def step(self, r, t, x, g, h):
        rate, g = r / (1 + t * self.decay_factor), g + self.norm_coefficient * x
        h = h + g * g
        return x - rate * g / (np.sqrt(h) + self.epsilon), h

    def formula(self, r, t, x, g, h):
        rate, g = r / (t * self.decay_factor + 1.0), g + x * self.norm_coefficient
        h = h + g * g
        return x - rate * g / (unary("sqrt", h) + self.epsilon), h


class Adam(Optimiser):
    """ONNX Adam: means of the gradient and of its square, both decaying (D. Kingma, J. Ba, arXiv:1412.6980)."""

    groups = 4
    alpha: float = 0.9
    beta: float = 0.999
    epsilon: float = 1e-6
    norm_coefficient: float = 0.0
    norm_coefficient_post: float = 0.0

    def step(self, r, t, x, g, v, h):
        g = g + self.norm_coefficient * x
        v, h = self.alpha * v + (1 - self.alpha) * g, self.beta * h + (1 - self.beta) * g * g
        rate = r * np.sqrt(1 - self.beta ** t) / (1 - self.alpha ** t) if t > 0 else r
        return (1 - self.norm_coefficient_post) * (x - rate * v / (np.sqrt(h) + self.epsilon)), v, h

    def formula(self, r, t, x, g, v, h):
        g = g + x * self.norm_coefficient
        v, h = v * self.alpha + g * (1.0 - self.alpha), h * self.beta + g * g * (1.0 - self.beta)
        a, b = (1.0 - binary("pow", const(n, f64), t) for n in (self.alpha, self.beta))
        rate = select(compare("lt", const(0.0, f64), t), r * unary("sqrt", b) / select(compare("eq", a, 0.0), const(1.0, f64), a), r)
        return (x - rate * v / (unary("sqrt", h) + self.epsilon)) * (1.0 - self.norm_coefficient_post), v, h


class Momentum(Optimiser):
    """ONNX Momentum: a decaying sum of the gradients, plain or as Nesterov has it (I. Sutskever et al., ICML 2013)."""

    groups = 3
    alpha: float
    beta: float
    mode: str
    norm_coefficient: float

    def step(self, r, t, x, g, v):
        g = g + self.norm_coefficient * x
        v = self.alpha * v + (self.beta if t > 0 else 1.0) * g
        return x - r * (g + self.alpha * v if self.mode == "nesterov" else v), v

    def formula(self, r, t, x, g, v):
        g = g + x * self.norm_coefficient
        v = v * self.alpha + g * select(compare("lt", const(0.0, f64), t), const(self.beta, f64), const(1.0, f64))
        return x - r * (g + v * self.alpha if self.mode == "nesterov" else v), v
