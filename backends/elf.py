"""Relocatable ELF objects as data: sections, symbols and relocations, read from bytes and written to bytes.

Just the part of the System V ABI (gABI chapters 4 and 5) that relocatable objects use, for both classes, little endian.
Sections refer to symbols and symbols to sections by index into the tuples here; the null section and the null symbol of a
file are not in them. What is read and written again means the same; what is written twice is the same bytes.

    >>> read(machine.emit_object(module)).sections[0].name
    '.text'
"""
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgec.errors import Internal

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL, GROUP, SYMTAB_SHNDX = 1, 2, 3, 4, 8, 9, 17, 18
WRITE, ALLOC, EXECINSTR, MERGE, STRINGS, INFO_LINK, LINK_ORDER = 1, 2, 4, 0x10, 0x20, 0x40, 0x80
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION, FILE = 0, 1, 2, 3, 4
UNDEFINED, ABSOLUTE = -1, -2
RESERVED, COMMON = 0xFF00, 0xFFF2     # section numbers as stored


@dataclass(frozen=True, slots=True)
class Relocation:
    """Patch `offset` of its section with a symbol's address; `addend` is None where it lies in the patched bytes (REL)."""
    offset: int
    symbol: int
    type: int
    addend: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """One section with its contents and what is relocated in it."""

    name: str
    type: int
    flags: int
    align: int
    data: bytes | memoryview
    size: int                       # len(data), except for NOBITS, whose data is empty
    entry_size: int = 0
    relocations: tuple[Relocation, ...] = ()


@dataclass(frozen=True, slots=True)
class Symbol:
    """One entry of the symbol table."""

    name: str
    value: int
    size: int
    binding: int
    type: int
    other: int                      # visibility, and the calling-convention bits of some machines
    section: int                    # index into Object.sections, UNDEFINED or ABSOLUTE


@dataclass(frozen=True, slots=True)
class Object:
    """A relocatable object file."""

    bits: int
    machine: int
    flags: int
    abi: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The record formats of one ELF class; `symbol_order` is where name, value, size, info, other and section stand in a stored symbol."""
    header: struct.Struct
    section: struct.Struct
    symbol: struct.Struct
    rel: struct.Struct
    rela: struct.Struct
    symbol_order: tuple[int, ...]
    type_bits: int


# Elf32_Sym: name value size info other shndx; Elf64_Sym: name info other shndx value size.
LAYOUTS = {
    32: Layout(*map(struct.Struct, ("<16sHHIIIIIHHHHHH", "<10I", "<IIIBBH", "<II", "<IIi")), (0, 1, 2, 3, 4, 5), 8),
    64: Layout(*map(struct.Struct, ("<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IBBHQQ", "<QQ", "<QQq")), (0, 4, 5, 1, 2, 3), 32),
}


def read(data: bytes) -> Object:
    """Parse a relocatable object; `Internal` for anything else. Section contents are views into `data`."""
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise Internal("not a little-endian ELF file")
    bits = {1: 32, 2: 64}[data[4]]
    layout = LAYOUTS[bits]
    _, kind, machine, _, _, _, table, flags, _, _, _, entry, count, names = layout.header.unpack_from(data)
    if kind != 1:
        raise Internal("not a relocatable ELF file")
    headers = [layout.section.unpack_from(data, table + index * entry) for index in range(count)]
    view = memoryview(data)
    if any(header[1] in (GROUP, SYMTAB_SHNDX) for header in headers):
        raise Internal("section groups and objects of more than 65,000 sections are not supported")
    index_of, relocations, symbols = {}, {}, ()
    for number, header in enumerate(headers):
        if header[1] in (REL, RELA):
            relocations[header[7]] = tuple(_relocations(layout, header, view))
        elif header[1] not in (0, SYMTAB) and (header[1] != STRTAB or header[2] & ALLOC):
            index_of[number] = len(index_of)
    for header in headers:
        if header[1] == SYMTAB:
            symbols = tuple(_symbols(layout, header, view, headers[header[6]], index_of))
    sections = tuple(_section(view, headers[number], _string(view, headers[names], headers[number][0]), relocations.get(number, ()))
                     for number in index_of)
    return Object(bits, machine, flags, data[7], sections, symbols)


def _string(view: memoryview, table: tuple, offset: int) -> str:
    start = table[4] + offset
    return bytes(view[start:table[4] + table[5]]).split(b"\0", 1)[0].decode() if offset else ""


def _section(view: memoryview, header: tuple, name: str, relocations: tuple[Relocation, ...]) -> Section:
    _, kind, flags, _, offset, size, _, _, align, entry = header
    return Section(name, kind, flags, align, b"" if kind == NOBITS else view[offset:offset + size], size, entry, relocations)


def _relocations(layout: Layout, header: tuple, view: memoryview) -> Iterator[Relocation]:
    rela, content = header[1] == RELA, view[header[4]:header[4] + header[5]]
    for offset, info, *addend in (layout.rela if rela else layout.rel).iter_unpack(content):
        yield Relocation(offset, (info >> layout.type_bits) - 1, info & (1 << layout.type_bits) - 1, addend[0] if rela else None)


def _symbols(layout: Layout, header: tuple, view: memoryview, table: tuple, index_of: dict[int, int]) -> Iterator[Symbol]:
    strings = bytes(view[table[4]:table[4] + table[5]])
    for record in list(layout.symbol.iter_unpack(view[header[4]:header[4] + header[5]]))[1:]:
        name, value, size, info, other, place = (record[at] for at in layout.symbol_order)
        if place == COMMON:
            raise Internal("common symbols are not supported")
        section = UNDEFINED if place == 0 else ABSOLUTE if place >= RESERVED else index_of.get(place, ABSOLUTE)
        yield Symbol(strings[name:strings.index(b"\0", name)].decode(), value, size, info >> 4, info & 15, other, section)


class _Strings:
    """A string table under construction: each distinct name once, in order of first use."""

    def __init__(self):
        self.offsets, self.chunks, self.size = {"": 0}, [b"\0"], 1

    def add(self, name: str) -> int:
        if name not in self.offsets:
            self.offsets[name] = self.size
            self.chunks.append(name.encode() + b"\0")
            self.size += len(self.chunks[-1])
        return self.offsets[name]


def write(obj: Object) -> bytes:
    """The file: header, section contents in order, symbol table, strings, relocations, section headers. Local symbols must come first."""
    layout, names = LAYOUTS[obj.bits], _Strings()
    relocated = [number for number, section in enumerate(obj.sections, 1) if section.relocations]
    symtab = len(obj.sections) + 1
    if symtab + 3 + len(relocated) >= RESERVED:
        raise Internal(f"{symtab} sections are more than an ELF file can number")
    file = _File(layout, names)
    for section in obj.sections:
        file.add(section.name, section.type, section.flags, section.align, section.data, section.size, entry=section.entry_size)
    symbols, strings, first_global = _symbol_table(layout, obj.symbols)
    word = obj.bits // 8
    file.add(".symtab", SYMTAB, 0, word, symbols, len(symbols), link=symtab + 1, info=first_global, entry=layout.symbol.size)
    file.add(".strtab", STRTAB, 0, 1, strings, len(strings))
    for number in relocated:
        section = obj.sections[number - 1]
        rela = section.relocations[0].addend is not None
        content, record = _relocation_table(layout, section.relocations, rela), layout.rela if rela else layout.rel
        name, kind = (".rela", RELA) if rela else (".rel", REL)
        file.add(name + section.name, kind, INFO_LINK, word, content, len(content), link=symtab, info=number, entry=record.size)
    return file.finish(obj)


class _File:
    """Contents laid one after the other at their alignment, joined once at the end: no byte of a section is copied twice."""

    def __init__(self, layout: Layout, names: _Strings):
        self.layout, self.names, self.headers = layout, names, [layout.section.pack(*[0] * 10)]
        self.chunks: list[bytes | memoryview] = [bytes(layout.header.size)]
        self.end = layout.header.size

    def add(self, name: str, kind: int, flags: int, align: int, data: bytes | memoryview, size: int, *,
            link: int = 0, info: int = 0, entry: int = 0):
        self._pad(align)
        fields = (self.names.add(name), kind, flags, 0, self.end, size, link, info, max(align, 1), entry)
        self.headers.append(self.layout.section.pack(*fields))
        self.chunks.append(data)
        self.end += len(data)

    def _pad(self, align: int):
        gap = -self.end % max(align, 1)
        self.chunks.append(bytes(gap))
        self.end += gap

    def finish(self, obj: Object) -> bytes:
        self.names.add(".shstrtab")
        strings = b"".join(self.names.chunks)
        self.add(".shstrtab", STRTAB, 0, 1, strings, len(strings))
        self._pad(8)
        identity = struct.pack("<4sBBBB8x", b"\x7fELF", obj.bits // 32, 1, 1, obj.abi)
        self.chunks[0] = self.layout.header.pack(identity, 1, obj.machine, 1, 0, 0, self.end, obj.flags, self.layout.header.size, 0, 0,
                                                 self.layout.section.size, len(self.headers), len(self.headers) - 1)
        return b"".join([*self.chunks, *self.headers])


def _symbol_table(layout: Layout, symbols: Sequence[Symbol]) -> tuple[bytes, bytes, int]:
    """The table, its strings and the index of the first symbol that is not local."""
    strings, records = _Strings(), [bytes(layout.symbol.size)]
    for symbol in symbols:
        place = {UNDEFINED: 0, ABSOLUTE: 0xFFF1}.get(symbol.section, symbol.section + 1)
        fields = (strings.add(symbol.name), symbol.value, symbol.size, symbol.binding << 4 | symbol.type, symbol.other, place)
        records.append(layout.symbol.pack(*(fields[layout.symbol_order.index(position)] for position in range(6))))
    first_global = 1 + sum(symbol.binding == LOCAL for symbol in symbols)
    return b"".join(records), b"".join(strings.chunks), first_global


def _relocation_table(layout: Layout, relocations: Sequence[Relocation], rela: bool) -> bytes:
    shift = layout.type_bits
    if rela:
        return b"".join(layout.rela.pack(each.offset, each.symbol + 1 << shift | each.type, each.addend) for each in relocations)
    return b"".join(layout.rel.pack(each.offset, each.symbol + 1 << shift | each.type) for each in relocations)
