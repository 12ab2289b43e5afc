"""Whether two places of a buffer can be the same: a buffer of two slots holds what the step before has left and what this step stores.

    never_equal(t - 2*(t // 2), t + 1 - 2*((t + 1) // 2))   ->   True: the slots t % 2 and (t + 1) % 2
"""

from __future__ import annotations

from collections.abc import Sequence

from edgec.expr import Expr, is_const
from edgec.kernel import Stage
from edgec.sweeps import walk


def independent(early: Stage, late: Stage) -> bool:
    """Whether points of two stages may be computed in any order: neither reads what the other stores."""
    return not _reads(late, early) and not _reads(early, late)


def _reads(reader: Stage, writer: Stage) -> bool:
    nodes = [n for n in walk(reader.value, *reader.indices) if n.op == "read" and n.data.root is writer.target.root]
    return any(n.data is not writer.target or not apart(n.args, writer.indices) for n in nodes)


def apart(some: Sequence[Expr], others: Sequence[Expr]) -> bool:
    """Whether the indices of two places of one buffer differ for all values of the variables; False where that is not known."""
    return any(never_equal(a, b) for a, b in zip(some, others))


def never_equal(a: Expr, b: Expr) -> bool:
    """Whether two indices are a constant apart, or remainders by one number of two that are."""
    difference = a - b
    if is_const(difference):
        return difference.data != 0
    first, second = _remainder(a), _remainder(b)
    if first is None or second is None or first[1] != second[1]:
        return False
    steps = first[0] - second[0]
    return is_const(steps) and steps.data % first[1] != 0


def _remainder(e: Expr) -> tuple[Expr, int] | None:
    """(x, m) of an index x % m, which is written x - m * (x // m)."""
    for node in walk(e):
        if node.op == "floordiv" and is_const(node.args[1]):
            whole, parts = node.args[0], node.args[1].data
            if whole - node * parts is e:
                return whole, parts
    return None
