"""A kernel made callable for timing: one function that runs it over the rows of a table of pointers, and the memory such a row points at.

    void again(void **table, intptr_t rows)      -- calls the kernel once for each row, its parameters in order

Every row has its own copy of the constants, as far as `copies` says: in a model other kernels run before this one comes again, so its
weights come from a farther cache than they would in a bare repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.backends.codegen import compile_module
from edgec.backends.join import join
from edgec.backends.target import Target

ROTATED = 16 << 20  # bytes of weights that copies take at most
MOST_COPIES = 64


@dataclass(frozen=True)
class Parameter:
    """The memory behind one pointer: bytes, its dtype's name and bytes of an element, and whether it is a constant."""

    size: int
    dtype: str
    element: int
    constant: bool


@dataclass(frozen=True)
class Candidate:
    """A kernel's LLVM module, with the name KERNEL, its parameters, and the values of the index arguments behind them."""

    text: str
    parameters: tuple[Parameter, ...]
    indices: tuple[int, ...]

    def copies(self, working_set: int) -> int:
        """Rows of the table, so that the constants of all of them are about as large as what the model touches before it comes again."""
        constants = sum(p.size for p in self.parameters if p.constant)
        return max(1, min(MOST_COPIES, min(working_set, ROTATED) // constants)) if constants else 1


def repeated_object(candidate: Candidate, target: Target, symbol: str = "again", optimize: str = "3", kernel: bytes | None = None) -> bytes:
    """An object that defines `symbol` and nothing else; `kernel` is the candidate's own object where it is known."""
    kernel = kernel or compile_module(candidate.text.replace("@KERNEL(", "@candidate("), target, optimize).object
    loop = compile_module(loop_text(len(candidate.parameters), candidate.indices, target.pointer_bits, symbol), target, "1").object
    return join([loop, kernel], [], {symbol})


def loop_text(parameters: int, indices: Sequence[int], pointer_bits: int, symbol: str) -> str:
    """The LLVM module of the function over rows."""
    word = f"i{pointer_bits}"
    lines = [f"define void @{symbol}(ptr %table, {word} %rows) #0 {{", "entry:", "  br label %loop", "loop:",
             f"  %r = phi {word} [ 0, %entry ], [ %next, %loop ]", f"  %first = mul {word} %r, {parameters}"]
    for n in range(parameters):
        lines += [f"  %i{n} = add {word} %first, {n}", f"  %a{n} = getelementptr ptr, ptr %table, {word} %i{n}",
                  f"  %p{n} = load ptr, ptr %a{n}"]
    arguments = [*(f"ptr %p{n}" for n in range(parameters)), *(f"{word} {value}" for value in indices)]
    declared = ", ".join(["ptr"] * parameters + [word] * len(indices))
    return "\n".join([*lines, f"  call void @candidate({', '.join(arguments)})", f"  %next = add {word} %r, 1",
                      f"  %more = icmp slt {word} %next, %rows", "  br i1 %more, label %loop, label %done", "done:", "  ret void", "}",
                      f"declare void @candidate({declared})", 'attributes #0 = { nounwind "no-builtins" "warn-stack-size"="0" }', ""])
