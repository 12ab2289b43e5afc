"""What a target is: a frozen record of facts that passes and backends ask, never a name they compare.

The records themselves are in `targets/`, one file per architecture; dropping a file there is all it takes to add a target.
A description module either lists records in `TARGETS` or, like the one for this computer, offers `detect(known) -> Target`.

    >>> find("x86-64-v3").lanes(32)
    8
"""
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from edgec.backends import targets
from edgec.backends.levels import Level, Routine
from edgec.errors import Unsupported


@dataclass(frozen=True)
class Instruction:
    """One row: an operation the machine has, and what it means. `name` is the mnemonic, or several with "/" between them.

    `llvm` is an intrinsic, the stem of an overloaded one (`llvm.floor`) or a plain instruction (`fpext`). `instruction.py` has the grammar.
    """
    name: str
    needs: frozenset[str]
    llvm: str
    meaning: str


def row(name: str, needs: str, llvm: str, meaning: str) -> Instruction:
    """A row as the description files write it: `needs` are LLVM feature names with spaces between them."""
    return Instruction(name, frozenset(needs.split()), llvm, meaning)


@dataclass(frozen=True)
class Emulator:
    """How code for a target is linked and run on another machine.

    With a `board` the program runs on a whole emulated board without an operating system (start-up code and linker script
    `boards/<board>.ld`), otherwise as a Linux process. An empty `qemu` means the host itself runs it.
    """
    gcc: str
    gcc_flags: tuple[str, ...]
    qemu: str
    qemu_flags: tuple[str, ...] = ()
    board: str = ""
    packages: tuple[str, ...] = ()      # the Debian packages that bring gcc, its C library and qemu


@dataclass(frozen=True, kw_only=True)
class Target:
    """One machine. Bytes for caches, bits for vectors, cycles for latencies; a cache that does not exist has 0 bytes."""
    name: str
    triple: str
    cpu: str
    features: tuple[str, ...] = ()      # LLVM's names; a leading "-" switches one off
    float_abi: str = ""                 # "hard", "soft" or "" where the triple leaves no choice
    abi_name: str = ""                  # LLVM's -target-abi, for example "lp64d"
    vector_bits: int                    # 0: no vectors
    registers: int                      # vector registers, or scalar float registers where vector_bits is 0
    general_registers: int = 14         # 32-bit integer registers that scalar integer sums may use
    fma: bool
    fma_latency: int                    # cycles from one multiply-add into the accumulator of the next
    fma_per_cycle: int
    vector_scale: int = 0               # of vectors whose length the instruction set leaves open: LLVM's vscale, fixed; else 0
    vector_frame: str = ""              # a regular expression with a group `vectors` or `bytes`: what assembly puts on the stack of them
    masks: bool = False                 # masked loads and stores cost no more than plain ones
    scalar_operand: str                 # how a scalar reaches a multiply-add: "memory", "lane" or "register"
    in_order: bool = False              # a load that follows sums waits for them: loads are best in groups, in the order of the code
    dealt_vectors: int = 1              # vectors of 32-bit lanes that one load fills, dealing neighbouring elements out to them in turn
    channel_blocks: tuple[int, ...] = ()    # channels of a point that may lie together in a buffer; the estimate says where they do
    loads_four: str = ""                # LLVM's name, but for the type, of what loads four vectors side by side and knows no offset
    register_name: str = ""             # of vector register {}, by which code asks for neighbours that a dealt load fills
    joined_vectors: int = 1             # vectors of 32-bit lanes that are best narrowed to bytes together
    prefetches: bool = False            # weights that come from beyond the second-level cache are asked for a tile ahead
    late_terms: bool = False            # terms are added behind sums: only then does LLVM make one instruction of a maximum that follows
    l1_bytes: int
    l2_bytes: int = 0
    l3_bytes: int = 0
    pointer_bits: int = 64
    relocation: str = "pic"
    code_model: str = "small"
    max_flash_growth: float = 4.0
    compact: bool = False               # small code goes before speed
    hand_over: int = 6000               # cycles until another core has begun work it is given; 0: there are no threads to give it to
    meeting: int = 600                  # cycles until threads that run together have waited for each other
    half_types: bool = True             # LLVM has f16 and bf16 as types there; else their values travel as 16-bit integers
    object_format: str = "elf"
    instructions: tuple[Instruction, ...] = ()
    levels: tuple[Level, ...] = ()      # what one object may hold code for, narrowest first
    routines: tuple[Routine, ...] = ()  # what the checks of the levels call
    calls: tuple[tuple[str, str], ...] = ()     # what LLVM calls for want of an instruction, and which of soft_routines that is
    emulator: Emulator | None = None
    seen: str = ""                      # what `detect` found on this computer; "" for a named target

    def lanes(self, dtype_bits: int) -> int:
        """Elements of `dtype_bits` bits in one vector register; 1 without vectors."""
        return max(1, self.vector_bits // dtype_bits)

    @property
    def soft_floats(self) -> bool:
        """Whether the core has no instructions for f32, so that they are called."""
        return any(operation == "float.add" for _, operation in self.calls)

    @property
    def counts_loops(self) -> bool:
        """Whether loops are counted by instructions of their own, which LLVM forms from a comparison with the end."""
        return "lob" in self.features

    @property
    def feature_string(self) -> str:
        """The features as LLVM takes them: `+avx2,-sse4a`."""
        return ",".join(feature if feature.startswith("-") else "+" + feature for feature in self.features)

    def text(self) -> str:
        """Every fact, one a line, for cache keys and `edgec show target`. How code is emulated does not change the code."""
        lists = ("instructions", "levels", "routines", "emulator", "seen")
        facts = {name: value for name, value in vars(self).items() if name not in lists}
        rows = [f"level {level.target}: {check}" for level in self.levels for check in level.checks]
        rows += [f"routine {each.name}: {each.code.hex()}" for each in self.routines]
        rows += [f"{row.name} [{' '.join(sorted(row.needs))}] {row.llvm}: {row.meaning}" for row in self.instructions]
        return "\n".join([f"{name} = {value!r}" for name, value in facts.items()] + rows) + "\n"


def available(rows: Iterable[Instruction], features: Iterable[str]) -> tuple[Instruction, ...]:
    """The rows whose needs are all among `features`, in order: the first row that fits is the one to use."""
    present = frozenset(features)
    return tuple(row for row in rows if row.needs <= present)


@cache
def all_targets() -> tuple[Target, ...]:
    """Every target there is, the described ones first, then those detected on this computer."""
    modules = [import_module(f"{targets.__name__}.{entry.name}") for entry in iter_modules(targets.__path__)]
    described = tuple(target for module in modules for target in getattr(module, "TARGETS", ()))
    return described + tuple(module.detect(described) for module in modules if hasattr(module, "detect"))


def find(name: str) -> Target:
    """The target called `name`; `Unsupported` with the known names otherwise."""
    for target in all_targets():
        if target.name == name:
            return target
    raise Unsupported(f"unknown target {name!r}; known targets: {', '.join(target.name for target in all_targets())}")
