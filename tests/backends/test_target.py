"""Target descriptions: complete, found by name, understood by LLVM, and named nowhere else."""
import re
from pathlib import Path

import pytest

from edgec.backends import target as target_module, targets
from edgec.backends.machine import create_machine
from edgec.backends.target import all_targets, find
from edgec.backends.targets import native
from edgec.errors import Unsupported

REPOSITORY = Path(__file__).parents[2]
KNOWN = [target for target in all_targets() if not target.seen]


def test_found_by_name(target):
    assert find(target.name) is target


def test_names_are_unique():
    assert len({target.name for target in all_targets()}) == len(all_targets())


def test_unknown_names_list_the_known_ones():
    with pytest.raises(Unsupported, match="unknown target 'pdp11'; known targets: ") as error:
        find("pdp11")
    assert all(target.name in str(error.value) for target in all_targets())


def test_llvm_knows_cpu_and_features(target, capfd):
    machine = create_machine(target)
    assert f"p:{target.pointer_bits}:{target.pointer_bits}" in str(machine.target_data) or target.pointer_bits == 64
    assert capfd.readouterr().err == ""


def test_lanes(target):
    assert target.lanes(8) == max(1, target.vector_bits // 8)
    assert target.lanes(1 << 20) == 1


def test_facts_are_plausible(target):
    assert target.scalar_operand in ("memory", "lane", "register")
    assert target.relocation in ("pic", "static")
    assert target.l1_bytes > 0 and target.registers > 0 and target.fma_latency > 0 and target.fma_per_cycle > 0
    assert all(row.needs <= set(target.features) for row in target.instructions)


def test_text_has_every_fact_that_changes_code(target):
    text = target.text()
    assert all(f"\n{fact} = " in "\n" + text for fact in ("cpu", "features", "registers", "l2_bytes", "max_flash_growth"))
    assert len({other.text() for other in all_targets()}) == len(all_targets())


def test_no_target_is_named_outside_its_description():
    """In code; docstrings and comments may give examples."""
    names = sorted({target.name for target in all_targets()} - {"native", "aarch64"}, key=len, reverse=True)
    pattern = re.compile(r"""["'](""" + "|".join(map(re.escape, names)) + r""")["']""")
    files = [path for folder in ("edgec", "passes", "backends") for path in (REPOSITORY / folder).rglob("*.py")
             if "targets" not in path.parts]
    assert len(files) > 10
    offences = [f"{path}: {line}" for path in files for line in code_lines(path) if pattern.search(line)]
    assert offences == []


def code_lines(path: Path) -> list[str]:
    """The file without docstrings, comments and examples."""
    text = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
    return [line.split("#")[0] for line in text.splitlines()]


@pytest.mark.parametrize("base", KNOWN, ids=lambda target: target.name)
def test_a_host_with_just_a_targets_features_gets_its_width(base):
    features = {feature: True for feature in base.features} | {"never-heard-of": False}
    host = native.describe(KNOWN, base.triple, "some-cpu", features, (1 << 15, 1 << 20))
    if base.vector_scale:  # no feature says how long such vectors are
        assert (host.vector_scale, host.triple) == (0, base.triple)
        return
    assert (host.vector_bits, host.masks, host.triple, host.cpu) == (base.vector_bits, base.masks, base.triple, "some-cpu")
    assert (host.l1_bytes, host.l2_bytes, host.l3_bytes) == (1 << 15, 1 << 20, 0)
    assert "-never-heard-of" in host.features and "some-cpu" in host.seen


def test_a_host_without_known_features_gets_the_least_of_its_family():
    least = min((target for target in KNOWN if target.triple == "x86_64-unknown-linux-gnu"), key=lambda target: target.vector_bits)
    host = native.describe(KNOWN, least.triple, "generic", {}, ())
    assert (host.vector_bits, host.features, host.l1_bytes) == (least.vector_bits, least.features, least.l1_bytes)


def test_cache_sizes(tmp_path):
    for index, (level, kind, size) in enumerate([(1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2M")]):
        (tmp_path / f"index{index}").mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (tmp_path / f"index{index}" / name).write_text(f"{value}\n")
    assert native.cache_sizes(tmp_path) == (48 << 10, 2 << 20)
    assert native.cache_sizes(tmp_path / "none") == ()


def test_a_description_file_is_all_a_target_needs(tmp_path, monkeypatch):
    (tmp_path / "extra_family.py").write_text(
        "from edgec.backends.target import Target\n"
        "TARGETS = (Target(name='extra', triple='x86_64-unknown-linux-gnu', cpu='generic', vector_bits=0, registers=8, fma=False,\n"
        "                  fma_latency=1, fma_per_cycle=1, scalar_operand='register', l1_bytes=1),)\n")
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    uncached = target_module.all_targets.__wrapped__()
    assert "extra" in {target.name for target in uncached}
