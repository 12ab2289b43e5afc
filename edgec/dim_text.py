"""Types and dimensions from text: `f32[n<=8,1,2*n + 1]`.

A dimension is written in Python's syntax of integers (+ - * // % min max); a chain of <= gives the bounds of a symbol where it first
stands.

    parse_type("f32[n<=8,3]", symbols := {})      # f32[n,3], symbols == {"n": var("n", 1, 8)}
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from edgec.errors import ModelError
from edgec.expr import Expr, dim, floordiv, maximum, minimum, mod, var
from edgec.types import DTYPES, TensorType

_OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: lambda a, b: floordiv(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else a // b,
    ast.Mod: lambda a, b: mod(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else a % b,
}


def parse_type(text: str, symbols: dict[str, Expr]) -> TensorType:
    """A tensor type; new symbols are added to `symbols`. ModelError for anything else."""
    name, _, rest = text.strip().partition("[")
    if name not in DTYPES or not rest.endswith("]"):
        raise ModelError(f"'{text}' is not a type", hint="write it as f32[1,10]")
    try:
        tree = ast.parse(f"({rest[:-1]},)" if rest[:-1].strip() else "()", mode="eval").body
        return TensorType(DTYPES[name], tuple(dim(_dimension(node, symbols)) for node in tree.elts))
    except (ArithmeticError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ModelError(f"cannot read the type '{text}': {error}") from None


def _dimension(node: ast.expr, symbols: dict[str, Expr]) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in symbols:
            raise ValueError(f"the bounds of '{node.id}' are not given")
        return symbols[node.id]
    if isinstance(node, ast.Compare):
        return _declared(node, symbols)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_dimension(node.operand, symbols)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_dimension(node.left, symbols), _dimension(node.right, symbols))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and len(node.args) == 2:
        pick = minimum if node.func.id == "min" else maximum
        return pick(*(_dimension(a, symbols) for a in node.args))
    raise ValueError(f"'{ast.unparse(node)}' is not a dimension")


def _declared(node: ast.Compare, symbols: dict[str, Expr]) -> Expr:
    """`n<=8` (from 1) or `lo<=n<=hi`."""
    parts = [node.left, *node.comparators]
    if not all(isinstance(o, ast.LtE) for o in node.ops) or len(parts) > 3:
        raise ValueError(f"'{ast.unparse(node)}' is not a bounded symbol")
    low, name, high = parts if len(parts) == 3 else (ast.Constant(1), *parts)
    if not isinstance(name, ast.Name):
        raise ValueError(f"'{ast.unparse(node)}' is not a bounded symbol")
    symbol = var(name.id, _dimension(low, symbols), _dimension(high, symbols))
    if symbols.setdefault(name.id, symbol) is not symbol:
        raise ValueError(f"'{name.id}' has other bounds elsewhere")
    return symbol
