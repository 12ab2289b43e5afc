"""Calls of C functions that are linked in: the code of such a kernel, the prototype in the header, and where they are when we run here.

    call_text("KERNEL", 3, (0, 1, 2), "my_blend", (4, 8))      # LLVM IR: my_blend(p0, p1, p2, 4, 8)
    prototype("my_blend", ("f32", "f32"), "f32", 2)            # void my_blend(const float *, const float *, float *, int32_t, int32_t);
"""
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from edgec.backends.interface import C_TYPES
from edgec.errors import ModelError, Unsupported

SOURCES = (".c",)


def call_text(symbol: str, parameters: int, pointers: Sequence[int], function: str, numbers: Sequence[int]) -> str:
    """The LLVM module of a kernel `symbol` of so many pointers that hands those of these places, and numbers, to a function."""
    given = ", ".join(f"ptr %p{n}" for n in range(parameters))
    handed = ", ".join([*(f"ptr %p{n}" for n in pointers), *(f"i32 signext {n}" for n in numbers)])
    types = ", ".join(["ptr"] * len(pointers) + ["i32 signext"] * len(numbers))
    return (f"define void @{symbol}({given}) #0 {{\nentry:\n  call void @{function}({handed})\n  ret void\n}}\n\n"
            f"declare void @{function}({types})\n"
            'attributes #0 = { nounwind noredzone "no-builtins" "warn-stack-size"="0" }\n')


def prototype(symbol: str, operands: Sequence[str], result: str, numbers: int) -> str:
    """The function in C."""
    arguments = [f"const {C_TYPES[t][0]} *" for t in operands] + [f"{C_TYPES[result][0]} *"] + ["int32_t"] * numbers
    return f"void {symbol}({', '.join(arguments)});"


def external_text(symbol: str, call: Any, buffers: Sequence[Any]) -> str:
    """The module of a kernel that is a call, of pointers to these buffers."""
    return call_text(symbol, len(buffers), [buffers.index(b) for b in call.pointers], call.function.symbol, call.function.numbers)


def functions_of(kernels: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """(symbol, prototype) of every C function that kernels call."""
    calls = [k.external.function for k in kernels if k.external]
    return tuple({f.symbol: (f.symbol, prototype(f.symbol, f.operands, f.result, len(f.numbers))) for f in calls}.values())


def link(files: Sequence[str | Path]) -> None:
    """Make the functions of shared libraries, and of C sources, which are compiled here, known to models that run in this process."""
    for file in map(Path, files):
        if not file.is_file():
            raise ModelError(f"cannot link '{file}': there is no such file", hint="give a shared library or a C source")
        if file.suffix in SOURCES:
            with tempfile.TemporaryDirectory(prefix="edgec-") as folder:
                _load(_compiled(file, Path(folder) / "linked.so"), file)
        else:
            _load(file, file)


def _compiled(source: Path, library: Path) -> Path:
    try:
        done = subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
    except OSError:
        raise Unsupported(f"there is no C compiler for '{source}'", hint="give a shared library") from None
    if done.returncode:
        raise ModelError(f"'{source}' cannot be compiled", notes=done.stderr.splitlines()[:8])
    return library


def _load(library: Path, file: Path) -> None:
    try:
        llvm.load_library_permanently(str(library.resolve()))
    except RuntimeError as error:
        raise ModelError(f"'{file}' is no shared library for this computer: {error}") from None


def require_linked(functions: Sequence[str]) -> None:
    """Unsupported for a function that is not there: calling it would end the process."""
    missing = [f for f in functions if not llvm.address_of_symbol(f)]
    if missing:
        raise Unsupported(f"the C function {', '.join(missing)} is not linked in", hint="--link my_functions.c, or a shared library")
