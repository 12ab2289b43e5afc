"""Runs Loops in plain Python over numpy scalars and vectors: the oracle of tiling and of machine code, for kernels of up to 10^6 points.

    run_loops(loops, [x, w, y], {"n": 5})      # flat arrays in the order of loops.params; y is changed in place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.errors import Internal
from edgec.evaluate import NAMED, compute
from edgec.expr import Expr, inside_pairs
from edgec.loops import Block, For, If, Let, Loops, Param, Prefetch, Register, Stmt, Store, group_of
from edgec.sweeps import evaluate_dim
from edgec.types import index

Value = Any  # int for scalar indices, else a numpy scalar or a vector of lanes


def run_loops(loops: Loops, arrays: Sequence[np.ndarray], symbols: Mapping[str, int] | None = None, ran: set[For] | None = None) -> None:
    """Execute on one flat array per parameter, in place. Internal for a load or store out of range, or an array that does not fit.

    Loops whose body ran at least once are added to `ran`.
    """
    machine = _Machine(loops, arrays, dict(symbols or {}), set() if ran is None else ran)
    with np.errstate(all="ignore"):
        machine.body(loops.body)


class _Machine:
    """Memory, registers and loop variables while the statements run."""

    def __init__(self, loops: Loops, arrays: Sequence[np.ndarray], symbols: dict[str, int], ran: set[For]):
        self.loops, self.ran = loops, ran
        self.memory: dict[Param, np.ndarray] = {}
        self.sizes: dict[Param, int] = {}
        self.variables: dict[Expr, int] = {}
        self.registers: dict[Register, Value] = {}
        self.plans: dict[Expr, list[Expr]] = {}
        for symbol in loops.symbols:
            if symbol.data not in symbols:
                raise Internal(f"no value for symbol {symbol.data} of {loops.name}")
            self.variables[symbol] = symbols[symbol.data]
        if len(arrays) != len(loops.params):
            raise Internal(f"{loops.name} has {len(loops.params)} parameters, {len(arrays)} arrays are given")
        for param, array in zip(loops.params, arrays):
            self._bind(param, array, symbols)

    def _bind(self, param: Param, array: np.ndarray, symbols: dict[str, int]) -> None:
        size = evaluate_dim(param.size, symbols)
        if array.ndim != 1 or array.dtype != param.dtype.numpy or array.size < size:
            raise Internal(f"parameter {param.name} of {self.loops.name} needs {size} elements of {param.dtype}",
                           notes=[f"given: {array.dtype}{list(array.shape)}"])
        self.memory[param], self.sizes[param] = array, size

    def body(self, body: Sequence[Stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: Stmt) -> None:
        match statement:
            case For(var=var, start=start, stop=stop, step=step):
                for number in range(int(self.value(start)), int(self.value(stop)), step):
                    self.variables[var] = number
                    self.ran.add(statement)
                    self.body(statement.body)
                self.variables.pop(var, None)
            case Let(register=register, value=value):
                self.registers[register] = _in_lanes(self.value(value), register)
            case Store():
                self.store(statement)
            case If(condition=condition):
                self.body(statement.body if self.value(condition) else statement.orelse)
            case Block():
                self.body(statement.body)
            case Prefetch():
                pass  # a hint changes nothing

    def store(self, statement: Store) -> None:
        at, value = self.value(statement.index), self.value(statement.value)
        count = statement.active or statement.value.lanes
        target = self.window(statement.param, at, count, "store to")
        target[...] = np.asarray(value)[:count] if statement.value.lanes > 1 else value

    def window(self, param: Param, at: Value, count: int, what: str) -> np.ndarray:
        """`count` elements of a parameter from `at` on."""
        if not 0 <= at <= self.sizes[param] - count:
            places = ", ".join(f"{v.data} = {n}" for v, n in self.variables.items())
            message = f"{what} {param.name}[{at}] of {count} elements leaves its {self.sizes[param]}"
            raise Internal(f"{self.loops.name}: {message}", notes=[places])
        return self.memory[param][at:at + count]

    def value(self, root: Expr, memo: dict[int, Value] | None = None) -> Value:
        """The value of an expression now; `memo` has what is already known of it."""
        memo = {} if memo is None else memo
        if root not in self.plans:
            self.plans[root] = _plan(root)
        for node in self.plans[root]:
            if id(node) not in memo:
                memo[id(node)] = self.apply(node, memo)
        return memo[id(root)]

    def apply(self, node: Expr, memo: dict[int, Value]) -> Value:
        """One node whose operands are in the memo, but for the guarded value of `inside`."""
        op = node.op
        if op == "var":
            if node not in self.variables:
                raise Internal(f"{self.loops.name}: variable {node.data} has no value here")
            return self.variables[node]
        if op == "const":
            return node.data if node.dtype is index else node.dtype.numpy.type(node.data)
        if op == "get":
            if node.data not in self.registers:
                raise Internal(f"{self.loops.name}: register {node.data.name} is read before it is assigned")
            return self.registers[node.data]
        if op == "inside":
            return self.inside(node, memo)
        args = [memo[id(a)] for a in node.args]
        return self.load(node, args[0]) if op == "load" else _VECTORS[op](node, args) if op in _VECTORS else _scalar(node, args)

    def load(self, node: Expr, at: Value) -> Value:
        param, active = node.data
        group = group_of(node)
        if node.args[0].lanes > 1:
            return np.array([self.window(param, int(i), 1, "load from")[0] for i in at])
        found = self.window(param, at, (active or node.lanes) * group, "load from")
        if group > 1:
            found = np.ascontiguousarray(found).view(node.dtype.numpy)
        if node.lanes == 1:
            return found[0]
        result = np.zeros(node.lanes, node.dtype.numpy)
        result[:len(found)] = found
        return result

    def inside(self, node: Expr, memo: dict[int, Value]) -> Value:
        """The guarded value is evaluated only where its index is within bounds (in some lane)."""
        within = np.asarray(True)
        for i, extent in inside_pairs(node):
            within = within & (memo[id(i)] >= 0) & np.asarray(memo[id(i)] < memo[id(extent)])
        fill = memo[id(node.args[1])]
        value = np.where(within, self.value(node.args[0], memo), fill) if np.any(within) else fill
        return np.broadcast_to(value, (node.lanes,)) if node.lanes > 1 else value[()] if isinstance(value, np.ndarray) else value


def _plan(root: Expr) -> list[Expr]:
    """The nodes to compute for a root, operands first, without the values that `inside` guards."""
    seen: set[int] = set()
    order: list[Expr] = []
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((a, False) for a in (node.args[1:] if node.op == "inside" else node.args))
    return order


def _scalar(node: Expr, args: list[Value]) -> Value:
    """Arithmetic; indices that are plain numbers stay Python integers."""
    if node.op == "linear":
        constant, coefficients = node.data
        return sum((c * a for c, a in zip(coefficients, args)), constant)
    if node.dtype is index and all(type(a) is int for a in args):
        if node.op == "floordiv":
            return args[0] // args[1]
        if node.op in ("min", "max"):
            return min(args) if node.op == "min" else max(args)
    result = compute(node, [np.asarray(a, dtype=x.dtype.numpy) for a, x in zip(args, node.args)])
    return int(result) if node.dtype is index and node.lanes == 1 else result


def _splat(node: Expr, args: list[Value]) -> Value:
    return np.full(node.lanes, args[0], node.dtype.numpy)


def _vector(node: Expr, args: list[Value]) -> Value:
    return np.array(args, node.dtype.numpy)


def _horizontal(node: Expr, args: list[Value]) -> Value:
    """All lanes folded into one; floats in float64, rounded once."""
    wide = np.float64 if node.dtype.is_float else node.dtype.numpy
    return NAMED[node.data].reduce(np.asarray(args[0]).astype(wide)).astype(node.dtype.numpy)


_VECTORS = {"iota": lambda node, args: np.arange(node.lanes), "splat": _splat, "vector": _vector, "horizontal": _horizontal,
            "lane": lambda node, args: args[0][node.data]}


def _in_lanes(value: Value, register: Register) -> Value:
    return np.broadcast_to(value, (register.lanes,)) if register.lanes > 1 else value
