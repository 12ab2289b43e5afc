"""The digits object as binutils see it: nothing undefined, nothing writable, weights read-only, and the target's own multiply-adds.

    objdump -d digits.o   ->   vfmadd231ps zmm.. (x86-64-v4), fmla v.4s (aarch64), vfma.f32 q (MVE), vfma.f32 s (Cortex-M4) ...
"""
import re
import shutil
import subprocess
from collections import Counter

import pytest
from elftools.elf.elffile import ELFFile

from edgec.backends.emulate import emulate
from edgec.backends.target import Target, all_targets

PARAMETERS = (8 * 9 + 8) + (16 * 72 + 16) + (32 * 144 + 32) + (320 + 10)      # with batch normalisation folded into the convolutions
MULTIPLY_ADDS = 64 * 8 * 9 + 16 * 16 * 72 + 16 * 32 * 144 + 320
HOT = 3         # functions: the three convolutions do more than 99 % of the multiply-adds
# Cores without floats are left out: their instructions are those of the routines that multiply and add, some hundred for each product.
EMULATED = [target for target in all_targets() if target.emulator and target.emulator.qemu and not target.soft_floats]

# A multiply-add of the full vector width (or what stands for it: without floats a call), by instruction set and vector bits.
MNEMONICS = {
    ("x86_64", 128): r"\tmulps\s.*%xmm",
    ("x86_64", 256): r"\tvfmadd\d+ps\s.*%ymm",
    ("x86_64", 512): r"\tvfmadd\d+ps\s.*%zmm",
    ("aarch64", 128): r"\tfmla\s+v\d+\.4s, v\d+\.4s, v\d+\.",
    ("aarch64", 256): r"\tfm(la|ad)\s+z\d+\.s, p\d/m, z\d+\.s, z\d+\.s",
    ("riscv64", 0): r"\tfmadd\.s\s",
    ("riscv64", 128): r"\tvfm(acc|add)\.v[fv]\s",
    ("riscv64", 256): r"\tvfm(acc|add)\.v[fv]\s",
    ("armv7", 128): r"\tvfma\.f32\s+q\d+, q\d+",
    ("thumbv6m", 0): r"\sR_ARM_THM_CALL\s+__aeabi_fmul$",
    ("thumbv7m", 0): r"\sR_ARM_THM_CALL\s+__aeabi_fmul$",
    ("thumbv7em", 0): r"\tvfma\.f32\s+s\d+, s\d+, s\d+",
    ("thumbv8.1m.main", 128): r"\tvfma\.f32\s+q\d+, q\d+, (q|r)\d+",
}
# Without attributes of the section's code at hand, objdump takes MVE for an unknown coprocessor.
MACHINES = {"thumbv8.1m.main": ("-m", "armv8.1-m.main")}


def architecture(target: Target) -> str:
    return target.triple.split("-")[0]


@pytest.fixture
def object_file(target, compiled, tmp_path):
    path, = compiled(target).write(tmp_path, emit={"obj"})
    return path


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_no_undefined_symbols_and_one_public_one(target, object_file, tool):
    assert output(tool(target, "nm"), "-u", str(object_file)) == ""
    public = output(tool(target, "nm"), "-g", "-f", "posix", str(object_file))
    assert [line.split()[:2] for line in public.splitlines()] == [["digits_run", "T"]]


def test_nothing_is_writable(target, object_file, tool):
    symbols = [line.split() for line in output(tool(target, "nm"), "-f", "posix", str(object_file)).splitlines()]
    assert {kind for _, kind, *_ in symbols} <= {"T", "t", "r", "n"}
    with object_file.open("rb") as file:
        sections = list(ELFFile(file).iter_sections())
    writable = 1        # SHF_WRITE
    assert [section.name for section in sections if section["sh_flags"] & writable and section["sh_size"]] == []
    assert not [section.name for section in sections if section.name.startswith((".eh_frame", ".ARM.exidx", ".data", ".bss", ".init"))]


def test_weights_are_in_a_read_only_section(target, object_file):
    with object_file.open("rb") as file:
        elf = ELFFile(file)
        symbol, = elf.get_section_by_name(".symtab").get_symbol_by_name("digits_weights")
        section = elf.get_section(symbol["st_shndx"])
        assert section.name.startswith(".rodata") and section["sh_flags"] == 2      # SHF_ALLOC alone
        growth = section["sh_size"] / (4 * PARAMETERS)
    assert 1 <= growth <= target.max_flash_growth + 0.05        # alignment of each array to 64 bytes is not counted as growth


def mnemonics(target: Target, disassembly: str) -> Counter:
    """How many full-width multiply-adds each function has."""
    pattern, name, counts = re.compile(MNEMONICS[architecture(target), target.vector_bits]), "", Counter()
    for line in disassembly.splitlines():
        if heading := re.match(r"[0-9a-f]+ <(\w+)>:$", line):
            name = heading[1]
        counts[name] += bool(pattern.search(line))
    return +counts


def test_hot_kernels_use_the_multiply_adds_of_the_target(target, object_file, tool):
    machine = MACHINES.get(architecture(target), ())
    counts = mnemonics(target, output(tool(target, "objdump"), "-dr", "--no-show-raw-insn", *machine, str(object_file)))
    assert len(counts) >= HOT, counts
    assert counts.most_common(1)[0][1] >= 16, counts            # the hottest one holds a tile of accumulators in registers


@pytest.mark.parametrize("target", EMULATED, ids=lambda target: target.name, indirect=True)
def test_executed_instructions_prove_that_vectors_are_used(target, compiled, digits):
    """Scalar code needs at least two loads or so and a multiply-add for each product: three times what is allowed here for vectors."""
    if not shutil.which("gcc"):
        pytest.skip("counting instructions needs gcc")
    count = emulate(compiled(target), [{"image": digits.images[:1]}], count_instructions=True).instructions
    assert 0 < count <= MULTIPLY_ADDS * (1 if target.vector_bits else 2)
