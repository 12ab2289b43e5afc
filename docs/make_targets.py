"""Writes docs/targets.md: every described machine, and every instruction row with how it is tested.

    page()      # '# Targets\\n\\n...'
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import textwrap
from types import ModuleType

from edgec.backends import targets
from edgec.backends.target import Instruction, Target

PAGE = """\
# Targets

<!-- written by docs/make_targets.py; `make docs` writes it anew -->

A target is data ([backends/targets/](../backends/targets)): what a machine has, as facts that passes ask for. No pass knows a target's
name. `edgec targets` lists them and how code for each is run on your computer, `edgec targets NAME` prints every fact of one.

| target | LLVM triple | processor | vector bits | registers | multiply-adds: a cycle, latency | scalar operand |
|---|---|---|---|---|---|---|
{machines}

| target | L1 | L2 | L3 | masks | weights may grow | programs for it run |
|---|---|---|---|---|---|---|
{memories}

`native` is one more: the widest of these that your processor can run, with every further feature it has, tuned for it, with the cache
sizes found. Compiling for a named target gives the same bytes on every machine; for `native` it depends on the machine, and
`edgec targets native` says what was seen.

A *scalar operand* is how the scalar of a multiply-add reaches it: a broadcast from `memory`, a `lane` of a vector, or a `register` of its
own. It decides how many registers a register tile may use, see [schedules](schedules.md). *Weights may grow* bounds what packing, padding
and Winograd add to the size of the weights, as a factor.

## Instruction rows

A row is an operation of the machine with its meaning. The rows of `floor`, `ceil`, `trunc`, `round_half_even` and `sqrt` on f32 decide
what is emitted as an instruction; without one the operation is written out in portable arithmetic, never as a call into a library. The
`dot` rows are described and tested, no pass chooses them yet.

How a row is tested, on every run of the suite:

* **run**: executed on the processor itself, and the result compared with the meaning in numpy, bit for bit (where the computer at hand has
  the processor; elsewhere pytest counts it as skipped);
* **emulated**: the same under qemu;
* **only assembled**: no target above has it, so LLVM's assembly is checked for the mnemonic. Where your own processor has the feature,
  `native` has the row and the tests run it.

{rows}
"""


def page() -> str:
    """The whole page."""
    machines = [t for module in modules() for t in getattr(module, "TARGETS", ())]
    described = [module for module in modules() if hasattr(module, "TARGETS")]
    lists = {"machines": "\n".join(map(machine, machines)), "memories": "\n".join(map(memory, machines))}
    return PAGE.format(**lists, rows="\n\n".join(map(rows, described)))


def modules() -> list[ModuleType]:
    """The description files."""
    return [importlib.import_module(f"{targets.__name__}.{entry.name}") for entry in pkgutil.iter_modules(targets.__path__)]


def machine(t: Target) -> str:
    multiply_add = f"{t.fma_per_cycle}, {t.fma_latency}" if t.fma else "none"
    return row((f"`{t.name}`", t.triple, t.cpu, t.vector_bits or "none", t.registers, multiply_add, t.scalar_operand))


def memory(t: Target) -> str:
    caches = map(size, (t.l1_bytes, t.l2_bytes, t.l3_bytes))
    return row((f"`{t.name}`", *caches, "yes" if t.masks else "no", f"{t.max_flash_growth:g}x", how_run(t)))


def how_run(t: Target) -> str:
    """How programs for a target are run when the computer at hand is another."""
    if t.object_format == "wasm":
        return "in wasmtime"
    if t.emulator is None:
        return "not"
    if not t.emulator.qemu:
        return "on such a processor only"
    board = f", board {t.emulator.board}" if t.emulator.board else ""
    here = "on such a processor or " if t.emulator.gcc == "gcc" else ""
    return f"{here}under {t.emulator.qemu}{board}"


def size(count: int) -> str:
    if not count:
        return "none"
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def rows(module: ModuleType) -> str:
    """The table of one architecture's rows."""
    title = inspect.getdoc(module).split("\n")[0].removesuffix(".")
    head = [row(("instruction", "meaning", "needs", "tested")), "|---|---|---|---|"]
    lines = [f"### {module.__name__.rpartition('.')[2]}", "", *textwrap.wrap(f"{title}.", 138), "", *head]
    return "\n".join([*lines, *(instruction(each, module.TARGETS) for each in module.INSTRUCTIONS)])


def instruction(each: Instruction, family: tuple[Target, ...]) -> str:
    return row((each.name, f"`{each.meaning}`", " ".join(sorted(each.needs)), tested(each, family)))


def tested(each: Instruction, family: tuple[Target, ...]) -> str:
    """run, emulated or only assembled."""
    having = [t for t in family if each in t.instructions]
    if not having:
        return "only assembled"
    if all(t.object_format == "wasm" for t in having):
        return "run"
    return "run" if any(t.emulator and t.emulator.gcc == "gcc" for t in having) else "emulated"


def row(cells: tuple) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
