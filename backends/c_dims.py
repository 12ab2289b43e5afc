"""Dimensions as C: an integer expression over the symbolic dimensions, as the header and the binder of arrays read it.

    c_expression(2 * n // 3 + 1, {n: "n"})      # '2 * n / 3 + 1'
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.errors import Unsupported
from edgec.expr import Expr
from edgec.sweeps import walk


def c_expression(dimension: Expr, names: Mapping[Expr, str]) -> str:
    """C text of a dimension; operands are non-negative, so that C's division is floor division. Unsupported for anything not arithmetic."""
    text: dict[Expr, str] = {}
    for node in walk(dimension):
        operands = [text[a] for a in node.args]
        match node.op:
            case "var":
                text[node] = names[node]
            case "const":
                text[node] = str(node.data)
            case "linear":
                text[node] = _sum(node, operands)
            case "mul":
                text[node] = "(" + " * ".join(operands) + ")"
            case "floordiv":
                text[node] = f"({operands[0]} / {operands[1]})"
            case "min" | "max":
                text[node] = f"EDGEC_{node.op.upper()}({operands[0]}, {operands[1]})"
            case _:
                raise Unsupported(f"a dimension of the model's interface is {dimension}, which the C header cannot say")
    return text[dimension]


def _sum(node: Expr, operands: list[str]) -> str:
    constant, coefficients = node.data
    terms = [operand if c == 1 else f"{c} * {operand}" for c, operand in zip(coefficients, operands)]
    return "(" + " + ".join([*terms, *([str(constant)] if constant else [])]).replace("+ -", "- ") + ")"
