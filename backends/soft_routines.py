"""What LLVM calls on cores without a floating-point unit or long products: our own functions, joined into the object that needs them.

Which function stands for which name is in the target's description (`Target.calls`); what it computes are expressions of
edgec/portable's float.py and word.py. An object gets those that its kernels need, each in a section of its own.

    routine_texts(objects, target)      # {"__aeabi_fmul": "define i32 @__aeabi_fmul(i32 %a, i32 %b) ..."}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from edgec.backends.codegen import Compiled
from edgec.backends.inspect_object import undefined_symbols
from edgec.backends.llvm_narrowing import SCALE
from edgec.backends.llvm_values import Values
from edgec.backends.target import Target
from edgec.expr import Expr
from edgec.loops import Register, get
from edgec.portable import float as portable_float, word as portable_word
from edgec.types import DType, u32, u64

FLOATS = ("add", "subtract", "multiply", "divide", "less", "at_most", "equal", "unordered", "scale")
CONVERSIONS = ("from_signed", "from_unsigned", "to_signed", "to_unsigned")
WORDS = {"multiply": (u64, u64), "shift_left": (u64, u32), "shift_right": (u64, u32), "shift_signed": (u64, u32), "divide": (u32, u32),
         "divide_signed": (u32, u32)}
SWAPPED = {"more": "less", "at_least": "at_most"}

Operation = tuple[Callable[..., Expr], tuple[DType, ...]]


def _swapped(function: Callable[..., Expr]) -> Callable[..., Expr]:
    return lambda a, b: function(b, a)


def _operations() -> dict[str, Operation]:
    """Every function by the name it has in `Target.calls`, with the types of its arguments."""
    found: dict[str, Operation] = {f"float.{n}": (getattr(portable_float, n), (u32, u32)) for n in FLOATS}
    found |= {f"float.{n}": (getattr(portable_float, n), (u32,)) for n in CONVERSIONS}
    found |= {f"float.{n}": (_swapped(getattr(portable_float, other)), (u32, u32)) for n, other in SWAPPED.items()}
    return found | {f"word.{n}": (getattr(portable_word, n), types) for n, types in WORDS.items()}


OPERATIONS = _operations()


@cache
def routine_text(symbol: str, operation: str, target: Target) -> str:
    """The LLVM module of one routine."""
    function, types = OPERATIONS[operation]
    arguments = [Register(f"a{n}", dtype) for n, dtype in enumerate(types)]
    values = Values(target)
    values.registers = {a: f"%{a.name}" for a in arguments}
    result = function(*(get(a) for a in arguments))
    text = values.value(result)
    head = ", ".join(f"i{a.dtype.bits} %{a.name}" for a in arguments)
    body = "\n".join(values.lines)
    return (f"define i{result.dtype.bits} @{symbol}({head}) #0 {{\nentry:\n{body}\n  ret i{result.dtype.bits} {text}\n}}\n\n"
            'attributes #0 = { nounwind "no-builtins" "warn-stack-size"="0" }\n')


def soft_routines(objects: Sequence[bytes], target: Target, build: Callable[[Mapping[str, str]], Mapping[str, Compiled]]) -> list[Compiled]:
    """The routines that objects call, and those that these call in turn; `build` compiles modules by name."""
    known, made = {**dict(target.calls), SCALE: "float.scale"} if target.calls else {}, dict[str, Compiled]()
    pending = {name for each in objects for name in undefined_symbols(each)} & set(known) if known else set[str]()
    while pending:
        made |= build({name: routine_text(name, known[name], target) for name in sorted(pending)})
        called = {name for one in made.values() for name in undefined_symbols(one.object)}
        pending = (called & set(known)) - set(made)
    return list(made.values())
