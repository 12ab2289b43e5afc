"""Operators of the domain com.microsoft that others express: they are replaced by these when a model is compiled.

    class FastGelu(Contributed):        # fields as in any operator, and what it becomes:
        def decompose(self): return activation.Gelu(self.x, approximate="tanh").output
"""

from __future__ import annotations

from edgec.graph import Op


class Contributed(Op):
    """Base of what is compiled as `decompose` says, whose types are those of what it becomes."""

    abstract = True
    domain = "com.microsoft"

    def infer(self):
        made = self.decompose()
        return tuple(v.type for v in made) if isinstance(made, tuple) else made.type
