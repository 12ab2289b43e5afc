"""The loop language: what the machine does, for one kernel.

    Loops    ::= name params: Param*  symbols: var*  body: Stmt*
    Stmt     ::= For var start stop step: Stmt*
               | Let register value                   -- (re)assign a register variable
               | Store param index value active       -- value.lanes elements from index on; only the first `active` when less
               | Prefetch param index                 -- a hint: the memory around an element is wanted soon
               | If condition: Stmt* else: Stmt*
               | Block Stmt*
    Param    ::= name dtype size writable             -- a pointer to dense elements
    Register ::= name dtype lanes                     -- a machine value, assigned by Let

Expressions are those of `edgec.expr`; here reads are `load` nodes of flat element indices and values may be vectors:

    load(param, index, lanes, active)    lanes consecutive elements from a scalar index (lanes past `active` are zero)
    load(..., dtype=bf16x2)              the same of words: each lane packs neighbouring elements into 32 bits (i8x8: into 64)
    get(register)                        the current value of a register
    iota(lanes)                          0, 1, 2, ...; an index like 4*i + iota is a vector index
    splat(x, lanes)  lane(x, k)  vector(x0, x1, ...)  horizontal<op>(x)

An operation on a scalar and a vector takes the scalar in every lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgec.expr import Expr, as_expr, make
from edgec.types import DType, index


@dataclass(frozen=True, eq=False)
class Param:
    """A pointer that a kernel is given: memory of `size` elements."""

    name: str
    dtype: DType
    size: Any  # elements; int, or index expression over the symbols
    writable: bool = False
    constant: bool = False  # contents known at compile time, so they may be laid out anew
    dealt: int = 0          # neighbouring elements belong to so many vectors in turn: one instruction loads all of these


@dataclass(frozen=True, eq=False)
class Register:
    name: str
    dtype: DType
    lanes: int = 1


@dataclass(frozen=True, eq=False)
class For:
    var: Expr
    start: Expr
    stop: Expr
    step: int
    body: tuple[Stmt, ...]


@dataclass(frozen=True, eq=False)
class Let:
    register: Register
    value: Expr


@dataclass(frozen=True, eq=False)
class Store:
    param: Param
    index: Expr
    value: Expr
    active: int = 0  # 0: all lanes


@dataclass(frozen=True, eq=False)
class Prefetch:
    """Asks for the memory around an element, which may lie outside of the parameter; no value depends on it.

    A parameter that is writable is asked for to be stored to.
    """

    param: Param
    index: Expr


@dataclass(frozen=True, eq=False)
class If:
    condition: Expr
    body: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    body: tuple[Stmt, ...]


Stmt = For | Let | Store | Prefetch | If | Block


@dataclass(frozen=True, eq=False)
class Loops:
    name: str
    params: tuple[Param, ...]
    symbols: tuple[Expr, ...]
    body: tuple[Stmt, ...]


def load(param: Param, at: Any, lanes: int = 1, active: int = 0, dtype: DType | None = None) -> Expr:
    """`lanes` consecutive elements of param from flat index `at`; lanes past `active` (0: all) read as zero and touch no memory.

    A vector of indices picks one element of a table in each lane.
    As a word type (`dtype`) of the parameter's elements, each lane is a word of neighbouring elements; `at` still counts elements.
    """
    active = 0 if active >= lanes else active
    lanes = max(lanes, at.lanes) if isinstance(at, Expr) else lanes
    return make("load", (as_expr(at, index),), dtype or param.dtype, (param, active), lanes=lanes, key=(id(param), active))


def group_of(node: Expr) -> int:
    """Elements of memory in one lane of a load: more than 1 for words of a parameter of single elements."""
    return node.dtype.bits // node.data[0].dtype.bits if node.dtype.kind == "w" else 1


def get(register: Register) -> Expr:
    """The current value of a register."""
    return make("get", (), register.dtype, register, lanes=register.lanes, key=id(register))


def iota(lanes: int) -> Expr:
    """The vector index 0, 1, ... lanes-1."""
    node = make("iota", (), index, lanes, bounds=(0, lanes - 1), free=frozenset(), lanes=lanes)
    if not node.free:
        node.free = frozenset((node,))
    return node


def splat(x: Expr, lanes: int) -> Expr:
    return x if x.lanes == lanes else make("splat", (x,), x.dtype, lanes, lanes=lanes)


def lane(x: Expr, number: int) -> Expr:
    """One lane of a vector as a scalar."""
    return make("lane", (x,), x.dtype, number, lanes=1)


def vector(parts: Sequence[Expr]) -> Expr:
    """A vector of scalars."""
    return make("vector", tuple(parts), parts[0].dtype, len(parts), lanes=len(parts))


def horizontal(op: str, x: Expr) -> Expr:
    """All lanes of a vector merged by a named combine."""
    return x if x.lanes == 1 else make("horizontal", (x,), x.dtype, op, lanes=1)


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """A vector node on other operands (what `edgec.sweeps.rebuild` does for these operations)."""
    if node.op == "load":
        return load(node.data[0], args[0], node.lanes, node.data[1], node.dtype)
    if node.op == "vector":
        return vector(args)
    if node.op == "horizontal":
        return horizontal(node.data, args[0])
    return splat(args[0], node.lanes) if node.op == "splat" else lane(args[0], node.data)


def children(statement: Stmt) -> tuple[Stmt, ...]:
    """The statements directly inside one."""
    if isinstance(statement, If):
        return statement.body + statement.orelse
    return statement.body if isinstance(statement, (For, Block)) else ()


def statements(body: Sequence[Stmt]):
    """Every statement below a body, outer before inner."""
    for statement in body:
        yield statement
        yield from statements(children(statement))


def flattened(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """The same statements without blocks."""
    found: list[Stmt] = []
    for statement in body:
        match statement:
            case Block():
                found.extend(flattened(statement.body))
            case For():
                found.append(replace(statement, body=flattened(statement.body)))
            case _:
                found.append(statement)
    return tuple(found)


def expressions(statement: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement evaluates itself."""
    match statement:
        case For():
            return statement.start, statement.stop
        case Let():
            return (statement.value,)
        case Store():
            return statement.index, statement.value
        case Prefetch():
            return (statement.index,)
        case If():
            return (statement.condition,)
    return ()
