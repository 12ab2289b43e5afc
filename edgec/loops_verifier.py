"""Checks what Loops must satisfy, and reports every violation at once: names, types, lanes, and registers assigned before they are used.

    verify_loops(loops)      # Internal: "2 problems ..."; or nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgec.errors import Internal, raise_all
from edgec.expr import BINARY, COMPARE, UNARY, Expr
from edgec.linear import coefficient
from edgec.loops import For, If, Let, Loops, Param, Prefetch, Register, Stmt, Store, expressions, iota
from edgec.sweeps import walk
from edgec.types import bool_, element_of, index

OPERATIONS = {*UNARY, *BINARY, *COMPARE, "const", "var", "linear", "floordiv", "cast", "select", "mul_add", "inside",
              "bitcast", "word", "dot", "dot_block", "load", "get", "iota", "splat", "lane", "vector", "horizontal"}
SCALAR_OPERANDS = {"splat": "what is splatted", "vector": "a part of a vector"}


def verify_loops(loops: Loops) -> None:
    """Raise Internal with every problem of the loops, or return."""
    raise_all(loops_errors(loops))


def loops_errors(loops: Loops) -> list[Internal]:
    """Every problem, in the order of the statements; each message is said once."""
    checker = _Checker(loops)
    return [Internal(f"{loops.name}: {message}") for message in dict.fromkeys(checker.problems())]


class _Checker:
    """Walks the statements with the variables in scope and the registers that have surely been assigned."""

    def __init__(self, loops: Loops):
        self.loops, self.found = loops, []
        self.params = set(loops.params)
        self.scope = dict.fromkeys(loops.symbols)
        self.checked: set[Expr] = set()

    def problems(self) -> list[str]:
        names = [p.name for p in self.loops.params]
        self.found += [f"two parameters are called {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
        for p in self.loops.params:
            if isinstance(p.size, Expr):
                self.found += [f"the size of {p.name} depends on {v.data}, which is no symbol" for v in p.size.free if v not in self.scope]
        self.body(self.loops.body, set())
        return self.found

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            self.found.append(message)

    def body(self, body: Sequence[Stmt], assigned: set[Register]) -> set[Register]:
        """Check statements in order; the registers assigned after them."""
        for statement in body:
            for root in expressions(statement):
                self.expression(root, assigned)
            assigned = self.statement(statement, assigned)
        return assigned

    def statement(self, statement: Stmt, assigned: set[Register]) -> set[Register]:
        match statement:
            case For():
                return self.loop(statement, assigned)
            case If(condition=condition, body=body, orelse=orelse):
                self.require(condition.dtype is bool_ and condition.lanes == 1, f"the condition {condition} is no single truth value")
                return self.body(body, assigned) & self.body(orelse, assigned)
            case Let(register=register, value=value):
                name = f"register {register.name}"
                self.require(value.dtype is register.dtype, f"{value.dtype} is assigned to {name} of {register.dtype}")
                self.require(value.lanes in (1, register.lanes), f"{value.lanes} lanes are assigned to {name} of {register.lanes}")
                return assigned | {register}
            case Store():
                self.store(statement)
            case Prefetch(param=param, index=at):
                self.param(param)
                self.require(at.dtype is index and at.lanes == 1, f"the index {at} of a prefetch is no single index")
        return self.body(getattr(statement, "body", ()), assigned)

    def loop(self, loop: For, assigned: set[Register]) -> set[Register]:
        """A body that may not run assigns nothing for sure."""
        self.require(loop.var not in self.scope, f"loop variable {loop.var.data} is already in use around the loop")
        self.require(loop.step > 0, f"the step of {loop.var.data} is {loop.step}")
        for end in (loop.start, loop.stop):
            self.require(end.dtype is index and end.lanes == 1, f"the bound {end} of {loop.var.data} is no single index")
        outer = loop.var in self.scope
        self.scope[loop.var] = None
        inside = self.body(loop.body, set(assigned))
        if not outer:
            self.scope.pop(loop.var)
        runs = loop.stop.dtype is loop.start.dtype is index and (loop.stop - loop.start).lo > 0
        return inside if runs else assigned

    def store(self, store: Store) -> None:
        param, value = store.param, store.value
        self.param(param)
        self.require(param.writable, f"store to {param.name}, which is not writable")
        self.require(store.index.dtype is index and store.index.lanes == 1, f"the index {store.index} of a store is no single index")
        self.require(value.dtype is param.dtype, f"{value.dtype} is stored to {param.name} of {param.dtype}")
        self.require(0 <= store.active <= value.lanes, f"{store.active} of {value.lanes} lanes are stored to {param.name}")

    def param(self, param: Param) -> None:
        self.require(param in self.params, f"{param.name} is no parameter")

    def expression(self, root: Expr, assigned: set[Register]) -> None:
        for node in walk(root):
            if node.op == "get":
                self.require(node.data in assigned, f"register {node.data.name} is read before it is assigned")
            elif node.op == "var":
                self.require(node in self.scope, f"variable {node.data} is not defined here")
            elif node not in self.checked:
                self.checked.add(node)
                self.node(node)

    def node(self, node: Expr) -> None:
        """What can be said of a node whatever is around it."""
        self.require(node.op in OPERATIONS, f"{node.op} has no meaning in loops: {node}")
        if node.op == "load":
            param, active = node.data
            self.param(param)
            self.require(node.args[0].dtype is index, f"a load from {param.name} is indexed by {node.args[0].dtype}")
            places = node.lanes == node.args[0].lanes and not active and (param.constant or _in_steps(node.args[0]))
            self.require(node.args[0].lanes == 1 or places,
                         f"the index of a load is a vector, and neither {param.name} a table nor are they equal steps: {node}")
            self.require(0 <= active < max(node.lanes, 1), f"{active} of {node.lanes} lanes are loaded from {param.name}")
        if node.op in SCALAR_OPERANDS:
            self.require(all(a.lanes == 1 for a in node.args), f"{SCALAR_OPERANDS[node.op]} is a vector: {node}")
        elif node.op == "lane":
            self.require(0 <= node.data < node.args[0].lanes, f"lane {node.data} of {node.args[0].lanes}: {node}")
        elif node.op == "dot_block":
            self.require(node.lanes == node.args[1].lanes * node.args[2].lanes, f"{node.lanes} lanes are no matrix of {node}")
        elif node.op not in ("horizontal", "load"):
            self.require(_agree(a.lanes for a in node.args), f"operands of {sorted({a.lanes for a in node.args})} lanes: {node}")
        self.types(node)

    def types(self, node: Expr) -> None:
        if node.op in (*BINARY, *COMPARE, "mul_add", "floordiv"):
            self.require(len({a.dtype for a in node.args}) == 1, f"operands of {', '.join(str(a.dtype) for a in node.args)}: {node}")
        if node.op in ("dot", "dot_block"):
            words = [element_of(a.dtype) for a in node.args[1:]]
            lengths = {(a.dtype.bits, element.bits) for a, element in zip(node.args[1:], words)}
            fits = all(a.dtype.kind == "w" for a in node.args[1:]) and len(lengths) == 1
            self.require(fits, f"operands of {node} are no words of one length")
            self.require(node.args[0].dtype is node.dtype, f"the accumulator of {node} is {node.args[0].dtype}")
        if node.op == "word":
            fits = len({a.dtype for a in node.args}) == 1 and len(node.args) * node.args[0].dtype.bits == node.dtype.bits
            self.require(fits, f"the elements of {node} do not fill a word")
        if node.op == "select":
            self.require(node.args[0].dtype is bool_ and node.args[1].dtype is node.args[2].dtype, f"operand types of {node}")


def _agree(lanes: Iterable[int]) -> bool:
    return len({n for n in lanes if n > 1}) <= 1


def _in_steps(places: Expr) -> bool:
    """Whether the lanes of an index are equal steps of two or more apart, as one load deals them out."""
    return (coefficient(places, iota(places.lanes)) or 0) > 1
