"""One relocatable object out of many: the kernels' objects and the weights become sections of a single file.

No relocation is applied and no section is merged or changed, only numbers are renumbered, so nothing here depends on an
instruction set: x86 relocates against constant-pool symbols, AArch64 against section symbols plus addend, 32-bit Arm keeps
addends in the code, and all of them stay true. An undefined symbol of one part is bound to the definition in another, and
every name that is not public becomes local, so that any number of models can be linked into one program.

    join([kernel_object, entry_object], [DataSection("net_weights", weights, 64)], public={"net_run"})
"""
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from edgec.backends import elf
from edgec.errors import Internal

# Dropped: unwind tables (nothing unwinds through a kernel), the compiler's signature, hints to the linker.
DROPPED = (".ARM.exidx", ".ARM.extab", ".eh_frame", ".comment", ".llvm", ".note", ".debug", ".group")
ATTRIBUTES = (".ARM.attributes", ".riscv.attributes")
STACK_NOTE = elf.Section(".note.GNU-stack", elf.PROGBITS, 0, 1, b"", 0)    # says that the stack need not be executable


@dataclass(frozen=True)
class DataSection:
    """Bytes under a name, in a section of their own; `symbol` is an object (with `code` a function) of `len(data)` bytes at its start."""
    symbol: str
    data: bytes | memoryview
    align: int
    section: str = ""               # default: .rodata.<symbol>
    code: bool = False              # machine code


def join(parts: Sequence[bytes], data: Sequence[DataSection], public: Collection[str]) -> bytes:
    """The joined object. Same arguments, same bytes; `data` is copied once, into the result.

    Raises `Internal` when two parts define the same name, when a relocation refers to something dropped, or when the parts are not
    of one machine. Names that nobody defines stay undefined (see `inspect_object.undefined_symbols`).
    """
    objects = [elf.read(part) for part in parts]
    _require_one_machine(objects)
    joined = _Joined(frozenset(public))
    for obj in objects:
        joined.add_part(obj)
    for item in data:
        joined.add_data(item)
    sections, symbols = joined.finish()
    return elf.write(replace(objects[0], sections=sections, symbols=symbols))


def _require_one_machine(objects: Sequence[elf.Object]):
    kinds = {(obj.bits, obj.machine, obj.flags, obj.abi) for obj in objects}
    if len(kinds) != 1:
        raise Internal(f"expected object files of one machine, got {len(kinds)}: (bits, machine, flags, abi) = {sorted(kinds)}")


@dataclass
class _Joined:
    """The result under construction. A symbol is known here by a key: its name when global, (part, index) when local."""
    public: frozenset[str]

    def __post_init__(self):
        self.sections: list[elf.Section] = []               # relocations still name symbols by their index in the part
        self.origins: list[dict[int, object]] = []          # for each section, that index -> the symbol's key
        self.symbols: dict[object, elf.Symbol] = {}
        self.attributes: elf.Section | None = None
        self.parts = 0

    def add_part(self, obj: elf.Object):
        referenced = {each.symbol for section in obj.sections if _is_kept(section) for each in section.relocations}
        filled = {symbol.section for symbol in obj.symbols if symbol.type not in (elf.SECTION, elf.FILE)}
        keys: dict[int, object] = {-1: None}
        number_of = {}
        for index, section in enumerate(obj.sections):
            if section.name in ATTRIBUTES:
                self.attributes = self.attributes or section
            elif _is_kept(section) and (section.size or index in filled):
                number_of[index] = len(self.sections)
                self.sections.append(section)
                self.origins.append(keys)
        for index, symbol in enumerate(obj.symbols):
            if _is_needed(symbol, index in referenced) and (symbol.section < 0 or symbol.section in number_of):
                keys[index] = self._add_symbol(index, replace(symbol, section=number_of.get(symbol.section, symbol.section)))
        self.parts += 1

    def add_data(self, item: DataSection):
        size = len(memoryview(item.data).cast("B"))
        kind, flags = (elf.FUNC, elf.ALLOC | elf.EXECINSTR) if item.code else (elf.OBJECT, elf.ALLOC)
        self._add_symbol(0, elf.Symbol(item.symbol, 0, size, elf.GLOBAL, kind, 0, len(self.sections)))
        name = item.section or ".rodata." + item.symbol
        self.sections.append(elf.Section(name, elf.PROGBITS, flags, item.align, memoryview(item.data).cast("B"), size))
        self.origins.append({})

    def _add_symbol(self, index: int, symbol: elf.Symbol) -> object:
        if symbol.binding == elf.LOCAL:
            key = (self.parts, index)
            self.symbols[key] = symbol
            return key
        known = self.symbols.get(symbol.name)
        if known is None or known.section == elf.UNDEFINED:
            self.symbols[symbol.name] = symbol
        elif symbol.section != elf.UNDEFINED:
            raise Internal(f"symbol {symbol.name!r} is defined twice")
        return symbol.name

    def finish(self) -> tuple[tuple[elf.Section, ...], tuple[elf.Symbol, ...]]:
        """Sections with final symbol numbers, and the symbols: local ones first, otherwise in order of appearance."""
        final = _with_unique_names({key: self._bound(symbol) for key, symbol in self.symbols.items()})
        order = sorted(final, key=lambda key: final[key].binding != elf.LOCAL)
        numbers = {None: -1} | {key: number for number, key in enumerate(order)}
        sections = [self._renumbered(*pair, numbers) for pair in zip(self.sections, self.origins)]
        sections += [self.attributes] if self.attributes else []
        return (*sections, STACK_NOTE), tuple(final[key] for key in order)

    def _bound(self, symbol: elf.Symbol) -> elf.Symbol:
        if symbol.section == elf.UNDEFINED:
            return symbol
        binding = elf.GLOBAL if symbol.name in self.public else elf.LOCAL
        return replace(symbol, binding=binding, other=symbol.other & ~3)         # visibility is the linker's default again

    def _renumbered(self, section: elf.Section, keys: dict[int, object], numbers: dict[object, int]) -> elf.Section:
        return replace(section, relocations=tuple(_renumber(section, keys, numbers)))


def _with_unique_names(symbols: dict[object, elf.Symbol]) -> dict[object, elf.Symbol]:
    """Local names made unique by a number. ELF does not ask for it, but LLVM's in-memory loader looks local symbols up by name,
    and every part has an `.LCPI0_0`. Mapping and section symbols stay: nothing looks them up."""
    used = {symbol.name for symbol in symbols.values() if symbol.binding != elf.LOCAL}
    unique, number = {}, Counter()
    for key, symbol in symbols.items():
        name = symbol.name
        if symbol.binding == elf.LOCAL and name and not name.startswith("$"):
            while name in used:
                number[symbol.name] += 1
                name = f"{symbol.name}.{number[symbol.name]}"
            used.add(name)
        unique[key] = symbol if name == symbol.name else replace(symbol, name=name)
    return unique


def _renumber(section: elf.Section, keys: dict[int, object], numbers: dict[object, int]) -> Iterator[elf.Relocation]:
    for each in section.relocations:
        if each.symbol not in keys:
            raise Internal(f"a relocation in section {section.name!r} refers to a section that is not kept")
        yield elf.Relocation(each.offset, numbers[keys[each.symbol]], each.type, each.addend)


def _is_kept(section: elf.Section) -> bool:
    return bool(section.flags & elf.ALLOC) and not section.name.startswith(DROPPED)


def _is_needed(symbol: elf.Symbol, referenced: bool) -> bool:
    """Definitions and what is referred to; of the rest only the mapping symbols ($a, $t, $d, $x) that disassemblers go by."""
    named = symbol.type in (elf.OBJECT, elf.FUNC) or symbol.binding != elf.LOCAL and symbol.section != elf.UNDEFINED
    return symbol.type != elf.FILE and (referenced or named or symbol.name.startswith("$"))
