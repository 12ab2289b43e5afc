"""LLVM IR text -> object file, one module at a time.

What LLVM prints about stack frames is part of the answer, so standard error is captured while it emits code.

    compile_module("define void @k(...) ...", target, "3").object
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from edgec.backends.machine import create_machine
from edgec.backends.target import Target
from edgec.errors import Internal

SPEED = {"0": (0, 0), "1": (1, 0), "2": (2, 0), "3": (3, 0), "s": (2, 1)}  # --optimize: (speed level, size level)
FRAME = re.compile(r"stack frame size \((\d+)\)")


@dataclass(frozen=True)
class Compiled:
    """One module's object, the stack bytes of its deepest function, its texts when asked for, its bitcode where that is joined."""

    object: bytes
    stack: int
    llvm: str = ""
    asm: str = ""
    bitcode: bytes = b""


def compile_module(text: str, target: Target, optimize: str = "3", keep: Sequence[str] = (), *, log_is_file: bool = False) -> Compiled:
    """Optimise one module and emit its object; `keep` asks for "llvm" and "asm" text. Internal when LLVM refuses the module.

    `log_is_file` says that standard error is a file that may be read: what LLVM says before it ends the process then stays there.
    """
    speed, size = SPEED[optimize]
    machine = create_machine(target, speed)
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise Internal("LLVM refused a module of edgec's own", notes=[*str(error).splitlines()[:6], *text.splitlines()[:1]]) from None
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    module.verify()
    _optimise(module, machine, speed, size)
    bitcode = b"" if target.object_format == "elf" else module.as_bitcode()     # before the last passes, which belong to a machine
    with _Captured(log_is_file) as printed:
        data = machine.emit_object(module)
        asm = machine.emit_assembly(module) if "asm" in keep or target.vector_frame else ""
    stack = max((int(n) for n in FRAME.findall(printed.text)), default=0) + _vectors_on_stack(target, asm)
    return Compiled(data, stack, str(module) if "llvm" in keep else "", asm if "asm" in keep else "", bitcode)


def _vectors_on_stack(target: Target, asm: str) -> int:
    """Bytes of vectors of open length on the stack of a module of one function, which LLVM leaves out of the size of its frame."""
    found = re.finditer(target.vector_frame, asm) if target.vector_frame else ()
    return sum(int(n) * (target.vector_bits // 8 if unit == "vectors" else 1) for each in found for unit, n in each.groupdict().items())


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine, speed: int, size: int) -> None:
    """LLVM's own pipeline, less what the loops have decided already: vectorising, unrolling, interleaving."""
    options = llvm.create_pipeline_tuning_options(speed)
    options.size_level = size
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)


class _Captured:
    """What native code writes to standard error while inside; with `in_place` that is a file already, and its end is read back."""

    text = ""

    def __init__(self, in_place: bool):
        self.in_place = in_place

    def __enter__(self) -> _Captured:
        if self.in_place:
            self.start = os.lseek(2, 0, os.SEEK_END)
            return self
        self.saved, self.file = os.dup(2), tempfile.TemporaryFile()
        os.dup2(self.file.fileno(), 2)
        return self

    def __exit__(self, *details: object) -> None:
        if self.in_place:
            self.text = os.pread(2, os.lseek(2, 0, os.SEEK_END) - self.start, self.start).decode(errors="replace")
            return
        os.dup2(self.saved, 2)
        os.close(self.saved)
        self.file.seek(0)
        self.text = self.file.read().decode(errors="replace")
        self.file.close()
