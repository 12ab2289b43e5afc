"""Relocatable WebAssembly objects: many modules made one, and what one holds.

LLVM links its own modules before it writes the object, so joining needs no knowledge of the format; reading does. (Format: "WebAssembly
Object File Linking", version 2, of the WebAssembly tool conventions; numbers are LEB128.)

    join_bitcode([kernel, entry], [DataSection("net_weights", weights, 64)], {"net_run"}, target)
    read_symbols(obj)[0]                # Symbol(name='net_run', defined=True, local=False)
"""
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from edgec.backends.join import DataSection
from edgec.backends.machine import create_machine
from edgec.backends.target import Target
from edgec.errors import Internal

MAGIC = b"\0asm"
CUSTOM, IMPORT, CODE, DATA = 0, 2, 10, 11
SEGMENTS, SYMBOL_TABLE = 5, 8               # subsections of the custom section "linking"
FUNCTION, DATA_SYMBOL, GLOBAL, SECTION, TAG, TABLE = range(6)
LOCAL, UNDEFINED, NAMED = 0x02, 0x10, 0x40  # of a symbol's flags
HEX = tuple(f"\\{byte:02x}" for byte in range(256))
PROVIDED = frozenset({"__stack_pointer", "__linear_memory", "__indirect_function_table"})     # what every linker brings


def join_bitcode(parts: Sequence[bytes], data: Sequence[DataSection], public: Collection[str], target: Target) -> bytes:
    """One object out of bitcode modules and data; every name that is not public becomes local. Same arguments, same bytes.

    Nothing is optimised any more: what was compiled apart stays as it is. `Internal` when LLVM refuses, as for a name defined twice.
    """
    machine = create_machine(target)
    try:
        first, *rest = (llvm.parse_bitcode(part) for part in parts)
        for module in (*rest, *(_data_module(item, target, str(machine.target_data)) for item in data)):
            first.link_in(module)
    except RuntimeError as error:
        raise Internal("LLVM cannot join the parts of this model", notes=str(error).splitlines()[:6]) from None
    for each in (*first.functions, *first.global_variables):
        if not each.is_declaration and each.name not in public:
            each.linkage = llvm.Linkage.internal
    return machine.emit_object(first)


def _data_module(item: DataSection, target: Target, layout: str) -> llvm.ModuleRef:
    data = bytes(item.data)
    text = "".join(map(HEX.__getitem__, data))
    module = llvm.parse_assembly(f'@{item.symbol} = constant [{len(data)} x i8] c"{text}", align {item.align}')
    module.triple, module.data_layout = target.triple, layout
    return module


@dataclass(frozen=True)
class Symbol:
    """A line of an object's symbol table."""
    name: str
    defined: bool
    local: bool


def read_symbols(obj: bytes) -> list[Symbol]:
    """Functions, data and globals, in the order of the table; what every linker brings is left out."""
    imported = iter(_imported_names(obj))
    names = {kind: list(found) for kind, found in _by_kind(imported)}
    return [each for table in _linking(obj, SYMBOL_TABLE) for each in _symbol_table(table, names) if each.name not in PROVIDED]


def segment_names(obj: bytes) -> list[str]:
    """The names of the data segments, as sections are called in ELF."""
    found = []
    for reader in _linking(obj, SEGMENTS):
        for _ in range(reader.number()):
            found.append(reader.text())
            reader.number()     # alignment
            reader.number()     # flags
    return found


def _linking(obj: bytes, wanted: int) -> "Iterator[_Reader]":
    """A subsection of what the object says to linkers."""
    for reader in (payload for number, name, payload in _sections(obj) if (number, name) == (CUSTOM, "linking")):
        reader.number()     # the version
        while reader.more():
            kind, size = reader.byte(), reader.number()
            inside = _Reader(reader.take(size))
            if kind == wanted:
                yield inside


def section_sizes(obj: bytes) -> dict[str, int]:
    """Bytes of code and of data, under the names that they have in ELF."""
    return {{CODE: ".text", DATA: ".rodata"}[number]: len(payload.data) for number, _, payload in _sections(obj) if number in (CODE, DATA)}


def _symbol_table(reader: "_Reader", imported: dict[int, list[str]]) -> Iterator[Symbol]:
    for _ in range(reader.number()):
        kind, flags = reader.byte(), reader.number()
        defined, name = not flags & UNDEFINED, ""
        if kind == DATA_SYMBOL:
            name = reader.text()
            for _ in range(3 if defined else 0):    # segment, offset, size
                reader.number()
        else:
            index = reader.number()
            if kind != SECTION:
                name = reader.text() if defined or flags & NAMED else imported[kind][index]
        if name:
            yield Symbol(name, defined, bool(flags & LOCAL))


def _by_kind(imported: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Imports number functions, tables, memories and globals apart; symbols name functions 0, globals 2, tables 5."""
    found = list(imported)
    for external, kind in ((0, FUNCTION), (1, TABLE), (3, GLOBAL), (4, TAG)):
        yield kind, [name for each, name in found if each == external]


def _imported_names(obj: bytes) -> Iterator[tuple[int, str]]:
    for reader in (payload for number, _, payload in _sections(obj) if number == IMPORT):
        for _ in range(reader.number()):
            reader.text()       # the module
            name, kind = reader.text(), reader.byte()
            if kind in (0, 4):                      # a function's or a tag's type
                reader.skip(kind == 4)
                reader.number()
            elif kind == 3:                         # a global's type and whether it may change
                reader.skip(2)
            else:                                   # a table's type, limits
                reader.skip(kind == 1)
                for _ in range(1 + (reader.byte() & 1)):
                    reader.number()
            yield kind, name


def _sections(obj: bytes) -> Iterator[tuple[int, str, "_Reader"]]:
    """Every section's number, its name if it is a custom one, and what is in it."""
    if obj[:4] != MAGIC:
        raise Internal("this is no WebAssembly object")
    reader = _Reader(memoryview(obj)[8:])
    while reader.more():
        number, size = reader.byte(), reader.number()
        inside = _Reader(reader.take(size))
        yield number, inside.text() if number == CUSTOM else "", inside


class _Reader:
    """Numbers and names one after the other."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def more(self) -> bool:
        return self.at < len(self.data)

    def skip(self, count: int) -> None:
        self.at += count

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, size: int) -> memoryview:
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    def text(self) -> str:
        return bytes(self.take(self.number())).decode()
