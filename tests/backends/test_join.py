"""The object joiner: on every architecture the joined object means what its parts meant, links, and runs."""
import re
import shutil
import subprocess
from io import BytesIO

import llvmlite.binding as llvm
import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from edgec.backends import elf
from edgec.backends.emulate import emulate
from edgec.backends.inspect_object import defined_globals, section_sizes, undefined_symbols, writable_sections
from edgec.backends.join import DataSection, join
from edgec.backends.machine import create_machine
from edgec.backends.native import Loaded
from edgec.backends.target import Target, all_targets
from edgec.errors import Internal

ELF = [target for target in all_targets() if target.object_format == "elf"]
RISCV = [
    Target(name=name, triple=triple, cpu=cpu, features=("m", "a", "f", "d", "c"), abi_name=abi, code_model=model, pointer_bits=bits,
           vector_bits=0, registers=32, fma=True, fma_latency=4, fma_per_cycle=1, scalar_operand="register", l1_bytes=0)
    for name, triple, cpu, abi, model, bits in (("rv64", "riscv64-unknown-linux-gnu", "generic-rv64", "lp64d", "medium", 64),
                                                ("rv32", "riscv32-unknown-elf", "generic-rv32", "ilp32d", "small", 32))
]


def meaning(obj: bytes) -> list[tuple]:
    """What an object says, without numbers that joining may change: per loaded section its contents and its relocations, each with
    (name, section contents, offset) of the symbol it refers to. Read by pyelftools."""
    file = ELFFile(BytesIO(obj))
    table = file.get_section_by_name(".symtab")
    sections = []
    for section in file.iter_sections():
        if not section["sh_flags"] & elf.ALLOC or section.name.startswith((".ARM.ex", ".eh_frame")) or not section["sh_size"]:
            continue
        patches = file.get_section_by_name(".rela" + section.name) or file.get_section_by_name(".rel" + section.name)
        relocations = [each for each in file.iter_sections() if each["sh_type"] in ("SHT_REL", "SHT_RELA")
                       and file.get_section(each["sh_info"])["sh_offset"] == section["sh_offset"]] if patches else []
        described = [describe(file, table, entry) for each in relocations for entry in each.iter_relocations()]
        sections.append((section.name, section["sh_flags"], section["sh_addralign"], section.data(), described))
    return sections


def describe(file: ELFFile, table, entry) -> tuple:
    symbol = table.get_symbol(entry["r_info_sym"])
    place = symbol["st_shndx"]
    target = file.get_section(place).data() if isinstance(place, int) else None
    kind = "section" if symbol["st_info"]["type"] == "STT_SECTION" else symbol.name
    return entry["r_offset"], entry["r_info_type"], entry.entry.get("r_addend"), kind, target, symbol["st_value"]


def without_undefined(described: list[tuple], calls: tuple[str, ...]) -> list[tuple]:
    """Sections with references to other parts reduced to the name, and without the numbers that joining adds to local names."""
    return [(*section[:4], [reference[:4] if reference[3] in ("net_weights", "scale", "choose", *calls) else
                            (*reference[:3], re.sub(r"\.\d+$", "", reference[3]), *reference[4:]) for reference in section[4]])
            for section in described]


@pytest.mark.parametrize("target", [*ELF, *RISCV], ids=lambda target: target.name)
def test_every_section_and_reference_survives(target, models):
    interface, parts = models.classifier_parts(target)
    joined = join(parts, [DataSection("net_weights", models.weights, 64)], {"net_run"})
    expected = [section for part in parts for section in meaning(part)]
    assert any(section[4] for section in expected)
    calls = tuple(dict(target.calls))
    assert without_undefined(meaning(joined), calls)[:-1] == without_undefined(expected, calls)
    name, _, align, data, _ = meaning(joined)[-1]
    assert (name, align, data) == (".rodata.net_weights", 64, models.weights.tobytes())
    assert undefined_symbols(joined) == []
    assert defined_globals(joined) == ["net_run"]
    assert writable_sections(joined) == []


@pytest.mark.parametrize("target", [*ELF, *RISCV], ids=lambda target: target.name)
def test_symbol_table_is_well_formed(target, models):
    interface, parts = models.classifier_parts(target)
    file = ELFFile(BytesIO(join(parts, [DataSection("net_weights", models.weights, 64)], {"net_run"})))
    table = file.get_section_by_name(".symtab")
    local = [symbol["st_info"]["bind"] == "STB_LOCAL" for symbol in table.iter_symbols()]
    assert local == sorted(local, reverse=True) and table["sh_info"] == sum(local)
    weights, = table.get_symbol_by_name("net_weights")
    assert (weights["st_size"], weights["st_info"]["type"]) == (16, "STT_OBJECT")
    names = [section.name for section in file.iter_sections()]
    assert not [name for name in names if name.startswith((".ARM.ex", ".eh_frame", ".comment", ".llvm"))]
    assert names.count(".note.GNU-stack") == 1
    assert sum(name in (".ARM.attributes", ".riscv.attributes") for name in names) == (file["e_machine"] in ("EM_ARM", "EM_RISCV"))


def test_links_and_runs(target, models, samples, require_tools):
    require_tools(target)
    outputs = emulate(models.classifier(target), samples).outputs
    for sample, output in zip(samples, outputs):
        np.testing.assert_array_equal(output["y"], models.reference(sample["the x"], sample["k"]))


@pytest.mark.parametrize("tool", ["gcc -shared -nostdlib", "ld -r", "ld --gc-sections -e a_run"])
def test_two_models_with_equal_kernel_names_link_together(tool, tmp_path, models):
    command = tool.split()
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} not installed")
    target = next(each for each in all_targets() if each.seen)
    for prefix in ("a", "b"):
        (tmp_path / f"{prefix}.o").write_bytes(models.classifier(target, prefix).object)
    subprocess.run([*command, "a.o", "b.o", "-o", "both"], cwd=tmp_path, check=True)
    if "-r" in command:
        assert defined_globals((tmp_path / "both").read_bytes()) == ["a_run", "b_run"]


def test_same_arguments_same_bytes(target, models):
    assert models.classifier(target).object == models.classifier(target).object


def test_reading_and_writing_again_changes_nothing(target, models):
    obj = models.classifier(target).object
    assert elf.write(elf.read(obj)) == obj


def test_large_weights_arrive_and_run(models, samples):
    target = next(each for each in all_targets() if each.seen)
    weights = np.arange(25 << 20, dtype=np.float32)
    weights[:4] = models.weights
    big = models.classifier(target, weights=weights)
    assert section_sizes(big.object)[".rodata.net_weights"] == weights.nbytes
    assert ELFFile(BytesIO(big.object)).get_section_by_name(".rodata.net_weights").data() == weights.tobytes()
    with Loaded(big.object, big.interface) as loaded:
        np.testing.assert_array_equal(loaded.run(samples[0])["y"], models.reference(*samples[0].values()))


def test_data_may_be_any_contiguous_buffer(target, models):
    interface, parts = models.classifier_parts(target)
    forms = [models.weights, models.weights.tobytes(), memoryview(models.weights), bytearray(models.weights.tobytes())]
    assert len({join(parts, [DataSection("net_weights", form, 64)], {"net_run"}) for form in forms}) == 1


def test_undefined_names_stay_and_are_reported(target, models):
    interface, parts = models.classifier_parts(target)
    assert undefined_symbols(join(parts[1:], [], {"net_run"})) == ["net_weights", "scale"]


def test_writable_data_is_reported(target, models):
    part = models.compile_part(target, "@state = global i32 7\ndefine i32 @f() nounwind {\n %r = load i32, ptr @state\n ret i32 %r\n}")
    assert writable_sections(join([part], [], {"f"})) in ([".data"], [".sdata"])


def test_a_name_defined_twice_is_refused(target, models):
    interface, parts = models.classifier_parts(target)
    with pytest.raises(Internal, match="'scale' is defined twice"):
        join([*parts, parts[0]], [], {"net_run"})


def test_objects_of_two_machines_are_refused(models):
    one, other = (next(each for each in all_targets() if each.triple.startswith(prefix)) for prefix in ("x86_64", "thumb"))
    text = "define void @{}() nounwind {{\n ret void\n}}"
    with pytest.raises(Internal, match="one machine"):
        join([models.compile_part(one, text.format("f")), models.compile_part(other, text.format("g"))], [], {"f"})


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02\x02" + bytes(60), b"!<arch>\n" + bytes(60)])
def test_what_is_not_an_object_is_refused(data):
    with pytest.raises(Internal, match="ELF"):
        elf.read(data)


def test_unwind_tables_are_dropped(target):
    machine = create_machine(target)
    functions = "define void @f() uwtable {\n call void @g()\n ret void\n}\ndefine void @g() noinline uwtable {\n ret void\n}"
    module = llvm.parse_assembly(f'target triple = "{machine.triple}"\ntarget datalayout = "{machine.target_data}"\n{functions}')
    part = machine.emit_object(module)
    assert {".eh_frame", ".ARM.exidx"} & {section.name for section in elf.read(part).sections}
    joined = join([part], [], {"f"})
    assert not {".eh_frame", ".ARM.exidx"} & {section.name for section in elf.read(joined).sections}
    assert undefined_symbols(joined) == []
