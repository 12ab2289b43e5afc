"""What goes wrong, and where: one exception family, each member with a place and a hint.

Every layer raises these and nothing else for bad input; the command line prints `str(error)` and exits with status 1.

    raise TypeMismatch("inner dimensions differ: 512 and 500", loc=Loc("model.onnx", "head/MatMul", "MatMul", 41),
                       notes=["operand a: f32[1,512]", "operand b: f32[500,10]"], hint="a Transpose may be missing")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Loc:
    """A place in the user's model: file, node name, operator and the node's position (any part may be unknown)."""

    file: str = ""
    node: str = ""
    op: str = ""
    index: int | None = None

    def __str__(self) -> str:
        number = f"#{self.index}" if self.index is not None else ""
        detail = ", ".join(part for part in (self.op, number) if part)
        node = f"node '{self.node}'" if self.node else ("node" if detail else "")
        place = f"{node} ({detail})" if detail else node
        return ": ".join(part for part in (self.file, place) if part)


class CompileError(Exception):
    """The root of the family: a message, the place it is about, notes (one line each) and what to do."""

    def __init__(self, message: str, *, loc: Loc | None = None, notes: Iterable[str] = (), hint: str = ""):
        super().__init__(message)
        self.message, self.loc, self.notes, self.hint = message, loc, tuple(notes), hint
        self.parts: tuple[CompileError, ...] = ()  # the errors that this one reports together

    def __str__(self) -> str:
        place = str(self.loc) if self.loc else ""
        head = f"{place}: {self.message}" if place else self.message
        tail = [f"  {note}" for note in self.notes] + ([f"  hint: {self.hint}"] if self.hint else [])
        return "\n".join([head, *tail])

    def at(self, loc: Loc | None) -> CompileError:
        """The same error with a place, when it has none yet."""
        return self if self.loc or loc is None else type(self)(self.message, loc=loc, notes=self.notes, hint=self.hint)


class ModelError(CompileError):
    """The model file or the given data is malformed."""


class TypeMismatch(CompileError):
    """Operand types, shapes or attributes do not fit together."""


class Unsupported(CompileError):
    """The model is valid, but edgec cannot express it (yet): names the nearest supported form."""


class Internal(CompileError):
    """A verifier found an IR that edgec itself built wrongly: a bug in edgec or in a custom pass."""


def raise_all(errors: list[CompileError]) -> None:
    """Raise one error that reports every problem found, or nothing for an empty list."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    together = type(errors[0])(f"{len(errors)} problems", notes=[line for error in errors for line in str(error).splitlines()])
    together.parts = tuple(errors)
    raise together


def each_problem(error: CompileError) -> tuple[CompileError, ...]:
    """The errors that an error of `raise_all` reports together; any other error alone."""
    return tuple(one for part in error.parts for one in each_problem(part)) or (error,)
