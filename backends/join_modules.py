"""One object of everything a model is compiled to, in the format of its target: ELF by our own writer, WebAssembly by LLVM.

    join_modules([kernel, entry], [DataSection("net_weights", weights, 64)], {"net_run"}, find("wasm32"))
"""
from collections.abc import Collection, Sequence

from edgec.backends.codegen import Compiled
from edgec.backends.join import DataSection, join
from edgec.backends.target import Target
from edgec.backends.wasm_object import join_bitcode


def join_modules(modules: Sequence[Compiled], data: Sequence[DataSection], public: Collection[str], target: Target) -> bytes:
    """The joined object; `Internal` as from `join` and `join_bitcode`."""
    if target.object_format == "elf":
        return join([module.object for module in modules], data, public)
    return join_bitcode([module.bitcode for module in modules], data, public, target)
