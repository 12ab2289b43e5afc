"""Questions about a finished object file, answered by an independent reader (pyelftools) rather than by our own writer.

    >>> undefined_symbols(artifact.object)
    []
"""
from collections.abc import Iterator
from io import BytesIO

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol

from edgec.backends import wasm_object

WRITE, ALLOC = 1, 2


def undefined_symbols(obj: bytes) -> list[str]:
    """Names the object needs from elsewhere, sorted; an object of ours has none."""
    if _is_wasm(obj):
        return sorted({symbol.name for symbol in wasm_object.read_symbols(obj) if not symbol.defined})
    return sorted({symbol.name for symbol in _symbols(obj) if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name})


def defined_globals(obj: bytes) -> list[str]:
    """Names visible to the linker, sorted; an object of ours has just the public ones."""
    if _is_wasm(obj):
        return sorted(symbol.name for symbol in wasm_object.read_symbols(obj) if symbol.defined and not symbol.local)
    return sorted(symbol.name for symbol in _symbols(obj) if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL")


def writable_sections(obj: bytes) -> list[str]:
    """Names of the sections that end up in writable memory and are not empty; an object of ours has none."""
    if _is_wasm(obj):
        return [name for name in wasm_object.segment_names(obj) if not name.startswith(".rodata")]
    return [section.name for section in ELFFile(BytesIO(obj)).iter_sections() if section["sh_flags"] & WRITE and section["sh_size"]]


def section_sizes(obj: bytes) -> dict[str, int]:
    """Bytes by section name, of the sections that end up in memory; sections of one name are added up."""
    if _is_wasm(obj):
        return wasm_object.section_sizes(obj)
    sizes: dict[str, int] = {}
    for section in ELFFile(BytesIO(obj)).iter_sections():
        if section["sh_flags"] & ALLOC:
            sizes[section.name] = sizes.get(section.name, 0) + section["sh_size"]
    return sizes


def _is_wasm(obj: bytes) -> bool:
    return obj[:4] == wasm_object.MAGIC


def _symbols(obj: bytes) -> Iterator[Symbol]:
    table = ELFFile(BytesIO(obj)).get_section_by_name(".symtab")
    return table.iter_symbols() if table else iter(())
