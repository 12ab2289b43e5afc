"""An order of operands that depends on what an expression says, not on the age of its nodes.

Sums keep their terms by age, so the same kernel built twice may list them differently. Printers walk expressions in this order instead:
large strides first, then variables by name, then whatever else by a digest of its structure.

    CanonicalOrder(names, source).terms(j + 4*i)      # [(i, 4), (j, 1)]
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from edgec.expr import Combine, Expr
from edgec.sweeps import walk
from edgec.types import index


class CanonicalOrder:
    """Orders operands of sums and index products; `names` and `source` give the names that count."""

    def __init__(self, names: Mapping[Expr, str], source: Callable[[Any], str]):
        self.names, self.source = names, source
        self.digests: dict[int, str] = {}

    def operands(self, node: Expr) -> Sequence[Expr]:
        """The operands of a node as they are printed."""
        if node.op == "linear":
            return [atom for atom, _ in self.terms(node)]
        return sorted(node.args, key=self._key) if node.op == "mul" and node.dtype is index else node.args

    def terms(self, node: Expr) -> list[tuple[Expr, int]]:
        """(atom, coefficient) of a sum, large coefficients first, and of equal ones the positive first."""
        return sorted(zip(node.args, node.data[1]), key=lambda term: (-abs(term[1]), term[1] < 0, self._key(term[0])))

    def walk(self, roots: Sequence[Expr], done: Container[int]) -> list[Expr]:
        """Every node below the roots that is not in `done` (by id), operands before users, each once."""
        seen: set[int] = set()
        found: list[Expr] = []
        stack: list[tuple[Expr, bool]] = [(root, False) for root in reversed(roots)]
        while stack:
            node, complete = stack.pop()
            if complete:
                found.append(node)
            elif id(node) not in seen and id(node) not in done:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(self.operands(node)))
        return found

    def _key(self, node: Expr) -> tuple:
        if node.op != "var":
            return (0 if node.op == "mul" else 2, self._digest(node))
        name = self.names.get(node, node.data)
        return (1, tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)))

    def _digest(self, root: Expr) -> str:
        for node in walk(root) if id(root) not in self.digests else ():
            if id(node) not in self.digests:
                parts = [self.digests[id(a)] for a in node.args]
                if node.op == "linear":
                    parts = sorted(f"{c}*{part}" for c, part in zip(node.data[1], parts))
                elif node.op == "mul" and node.dtype is index:
                    parts.sort()
                text = "\0".join([node.op, node.dtype.name, self._payload(node), *parts])
                self.digests[id(node)] = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        return self.digests[id(root)]

    def _payload(self, node: Expr) -> str:
        if node.op in ("var", "arg"):
            return self.names.get(node, node.data)
        if node.op in ("read", "get"):
            return self.source(node.data)
        if node.op == "load":
            return f"{self.source(node.data[0])} {node.data[1]} {node.lanes}"
        if node.op == "linear":
            return str(node.data[0])
        if node.op == "reduce":
            return "combine" if isinstance(node.data[0], Combine) else node.data[0]
        return str(node.data)
