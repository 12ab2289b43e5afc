"""What the outside sees of a compiled model: its ports, its dimensions and the memory it wants; and where C puts all that.

`header.py` prints an interface as C, `entry.py` reads the caller's struct at the offsets of `layout`, `native.py` fills it.

    >>> layout(Interface("net", inputs=(x,), outputs=(y,)), 64).arena
    24
"""
from collections.abc import Collection
from dataclasses import dataclass, replace
from math import prod

WEIGHT_ALIGN = 64  # bytes; of every constant, and of every tensor in the state

# What PREFIX_run returns.
OK, BAD_CONTEXT, BAD_DIMENSION, BAD_ARENA, BAD_ISA, BAD_EXECUTOR, BAD_STATE = 0, -1, -2, -3, -4, -5, -6

# The C type and the bytes of one element, by dtype name; half floats travel as their bits.
C_TYPES = {
    "f64": ("double", 8), "f32": ("float", 4), "f16": ("uint16_t", 2), "bf16": ("uint16_t", 2), "bool": ("uint8_t", 1),
    "i8": ("int8_t", 1), "i16": ("int16_t", 2), "i32": ("int32_t", 4), "i64": ("int64_t", 8),
    "u8": ("uint8_t", 1), "u16": ("uint16_t", 2), "u32": ("uint32_t", 4), "u64": ("uint64_t", 8),
}


@dataclass(frozen=True)
class Port:
    """One input or output: a dense row-major array. A dimension is a number or a C expression over the interface's `dims`."""
    name: str                               # as the model says
    c_name: str                             # as the struct member says
    dtype: str                              # a key of C_TYPES
    shape: tuple[int | str, ...]
    extra: tuple[tuple[str, int | float | str], ...] = ()       # further constants for the header: ("SCALE", 0.05), ("ZERO_POINT", 3)
    text: bool = False                      # whether its rows are strings: slots of as many bytes as the last extent says

    @property
    def item_bytes(self) -> int:
        return C_TYPES[self.dtype][1]


@dataclass(frozen=True)
class Kept:
    """What stays between calls, in the caller's state: an input as `port`, the name of the output it is, and its byte offset.

    What grows with every call has `before` and `after`: the part of `port` that is filled before a call and after it, as C expressions.
    """
    port: Port
    output: str
    offset: int
    before: tuple[int | str, ...] = ()
    after: tuple[int | str, ...] = ()

    @property
    def bytes(self) -> int:
        """Its size; the shape is of numbers."""
        return prod(self.port.shape) * self.port.item_bytes


@dataclass(frozen=True)
class Interface:
    """All of a model's ports, and its memory in bytes. `dims` are (C identifier, smallest, largest), both ends included."""
    prefix: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    dims: tuple[tuple[str, int, int], ...] = ()
    arena_bytes: int = 0
    slot_bytes: int = 0                     # further arena bytes for each slot of an executor but the first
    arena_align: int = 64
    stack_bytes: int = 0
    flash_bytes: int = 0
    weights_symbol: str = ""                # the data section that holds the weights, "" without weights
    decoded_at: int | None = None           # coded weights are decoded to so many bytes into the arena; None: they are not coded
    states: tuple[Kept, ...] = ()           # what the caller keeps for the model between calls, in order of their offsets
    sizes: tuple[tuple[str, int, int], ...] = ()   # those that the model computes, as `dims`: members of the outputs
    functions: tuple[tuple[str, str], ...] = ()     # C functions that are called: (symbol, prototype)
    variants: tuple[tuple[int, ...], ...] = ()      # the values of `dims` that go together, where the object holds several shapes
    levels: tuple[str, ...] = ()            # C macro parts of the levels that the object holds code for, by number; () for just one

    def arena_for(self, slots: int) -> int:
        """Bytes of the arena for an executor of so many slots; 1 is enough without one."""
        return self.arena_bytes + max(0, slots - 1) * self.slot_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of the caller's state, at a multiple of `arena_align`; 0 for a model that keeps nothing."""
        end = max((kept.offset + kept.bytes for kept in self.states), default=0)
        return -(-end // self.arena_align) * self.arena_align

    def with_texts(self, inputs: Collection[str], outputs: Collection[str]) -> "Interface":
        """The interface whose ports of these names are strings."""
        def marked(ports: tuple[Port, ...], names: Collection[str]) -> tuple[Port, ...]:
            return tuple(replace(p, text=True) if p.name in names else p for p in ports)
        return replace(self, inputs=marked(self.inputs, inputs), outputs=marked(self.outputs, outputs))

    @property
    def run_symbol(self) -> str:
        """The public function."""
        return self.prefix + "_run"

    @property
    def init_symbol(self) -> str:
        """The other public function of an object with several levels."""
        return self.prefix + "_init"

    @property
    def public_symbols(self) -> frozenset[str]:
        """What the linker may see."""
        return frozenset({self.run_symbol} | ({self.init_symbol} if self.levels else set()))


@dataclass(frozen=True)
class ContextLayout:
    """Byte offsets of the members of PREFIX_context, and its size; `inputs`, `dims`, `outputs` and `sizes` in the interface's order."""
    size: int
    inputs: tuple[int, ...]
    dims: tuple[int, ...]
    outputs: tuple[int, ...]
    sizes: tuple[int, ...]
    arena: int
    weights: int
    state: int
    executor: int
    isa: int


@dataclass(frozen=True)
class ExecutorLayout:
    """Byte offsets of the members of edgec_executor: a uint32_t, a pointer, a uint32_t, a pointer to a function, and two more of those that
    an executor may be without; `size` is up to these, `whole` is all."""
    pointer_bits: int

    @property
    def context(self) -> int:
        return self.pointer_bits // 8

    @property
    def slots(self) -> int:
        return 2 * self.pointer_bits // 8

    @property
    def parallel_for(self) -> int:
        return 3 * self.pointer_bits // 8

    @property
    def size(self) -> int:
        return 4 * self.pointer_bits // 8

    @property
    def together(self) -> int:
        return 4 * self.pointer_bits // 8

    @property
    def rest(self) -> int:
        return 5 * self.pointer_bits // 8

    @property
    def whole(self) -> int:
        return 6 * self.pointer_bits // 8


def layout(interface: Interface, pointer_bits: int) -> ContextLayout:
    """Where a C compiler puts the members of PREFIX_context: in order, each at a multiple of its size, structs at a pointer's.

    The first member is the uint32_t `size`. A struct without members is not C, so one without ports has a pointer nobody reads.
    """
    word = pointer_bits // 8
    inputs, dims, end = _members(word, word, len(interface.inputs), len(interface.dims))
    outputs, sizes, end = _members(end, word, len(interface.outputs), len(interface.sizes))
    arena, weights, state, executor, isa = (end + word * index for index in range(5))
    return ContextLayout(_aligned(isa + 4, word), inputs, dims, outputs, sizes, arena, weights, state, executor, isa)


def _members(start: int, word: int, pointers: int, integers: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Offsets of the pointers and the int32_t of a struct at `start`, and the end of the struct."""
    after = start + word * max(pointers, 1)
    end = after + 4 * integers
    return tuple(range(start, start + word * pointers, word)), tuple(range(after, end, 4)), _aligned(end, word)


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align
