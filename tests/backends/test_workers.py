"""Many modules at once: workers and cache give what one process gives, and one bad module is one clear error."""

import os
import stat

import pytest

from edgec.backends import workers
from edgec.backends.codegen import compile_module
from edgec.backends.target import find
from edgec.backends.workers import cache_key, compile_modules
from edgec.errors import Internal

TARGET = find("aarch64")
TEXTS = {f"k{n}": f"define void @k{n}(ptr %p) {{\n  store i32 {n}, ptr %p\n  ret void\n}}\n" for n in range(7)}
# An instruction of another processor: LLVM cannot select one and ends the process.
FATAL = """define void @bad(ptr %p) {
  %v = load <4 x float>, ptr %p
  %r = call <4 x float> @llvm.x86.sse.rsqrt.ps(<4 x float> %v)
  store <4 x float> %r, ptr %p
  ret void
}
declare <4 x float> @llvm.x86.sse.rsqrt.ps(<4 x float>)
"""


def objects(compiled) -> dict[str, bytes]:
    return {name: each.object for name, each in compiled.items()}


@pytest.fixture
def alone():
    return {name: compile_module(text, TARGET).object for name, text in TEXTS.items()}


@pytest.mark.parametrize("count", [0, 1, 2, 5, 30])
def test_any_number_of_workers_gives_the_same_objects_in_order(count, alone):
    found = compile_modules(TEXTS, TARGET, workers=count)
    assert list(found) == list(TEXTS) and objects(found) == alone


def test_progress_counts_up():
    seen = []
    compile_modules(TEXTS, TARGET, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert sorted(seen) == [(n, len(TEXTS)) for n in range(1, len(TEXTS) + 1)]


def test_texts_and_stack_come_back_from_workers():
    found = compile_modules(TEXTS, TARGET, keep=("llvm", "asm"), workers=2)
    assert "@k3(" in found["k3"].llvm and "k3:" in found["k3"].asm and found["k3"].stack == 0
    assert compile_modules(TEXTS, TARGET, workers=2)["k3"].llvm == ""


def test_a_module_that_ends_its_process_is_one_error_that_names_it():
    texts = {**TEXTS, "bad": FATAL}
    with pytest.raises(Internal) as caught:
        compile_modules(texts, TARGET, workers=1)
    assert "compiling bad ended the worker process" in str(caught.value)
    assert any("Cannot select" in note for note in caught.value.notes) and caught.value.hint


def test_a_module_that_llvm_refuses_is_the_same_error_as_in_one_process():
    texts = {**TEXTS, "wrong": "define void @wrong() { ret i32 0 }"}
    with pytest.raises(Internal) as here:
        compile_modules(texts, TARGET, workers=0)
    with pytest.raises(Internal) as there:
        compile_modules(texts, TARGET, workers=2)
    assert str(here.value) == str(there.value) and "refused a module" in str(there.value)


def test_a_worker_that_dies_within_an_answer_is_noticed(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nhead -c 10 >/dev/null\nprintf '\\377\\000\\000\\000\\000\\000\\000\\000half'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(workers.sys, "executable", str(script))
    with pytest.raises(Internal, match="ended the worker process"):
        compile_modules(TEXTS, TARGET, workers=1)


# --------------------------------------------------------------------------------------------------------------- cache

def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def counted(monkeypatch) -> list[str]:
    """The texts that are compiled from now on."""
    seen = []

    def compiling(text, *rest, **options):
        seen.append(text)
        return compile_module(text, *rest, **options)

    monkeypatch.setattr(workers, "compile_module", compiling)
    return seen


def test_a_hit_gives_the_same_bytes_and_compiles_nothing(tmp_path, monkeypatch, alone):
    first = compile_modules(TEXTS, TARGET, workers=2, cache=tmp_path / "new" / "folder")
    assert len(entries(tmp_path)) == len(TEXTS)
    seen = counted(monkeypatch)
    second = compile_modules(TEXTS, TARGET, workers=0, cache=tmp_path / "new" / "folder")
    assert objects(first) == objects(second) == alone and list(second) == list(TEXTS) and not seen


def test_only_what_is_missing_is_compiled(tmp_path, monkeypatch):
    some = {name: TEXTS[name] for name in ("k1", "k4")}
    compile_modules(some, TARGET, workers=0, cache=tmp_path)
    seen = counted(monkeypatch)
    assert list(compile_modules(TEXTS, TARGET, workers=0, cache=tmp_path)) == list(TEXTS)
    assert sorted(seen) == sorted(text for name, text in TEXTS.items() if name not in some)


DAMAGES = {"truncated": lambda data: data[:-1], "header only": lambda data: data[:40], "empty": lambda data: b"",
           "changed": lambda data: data[:60] + b"x" + data[61:]}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_ignored_and_replaced(tmp_path, damage, alone):
    compile_modules(TEXTS, TARGET, workers=0, cache=tmp_path)
    whole = [path.read_bytes() for path in entries(tmp_path)]
    for path in entries(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    assert objects(compile_modules(TEXTS, TARGET, workers=0, cache=tmp_path)) == alone
    assert [path.read_bytes() for path in entries(tmp_path)] == whole


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, alone):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert objects(compile_modules(TEXTS, TARGET, workers=0, cache=blocked)) == alone
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    assert objects(compile_modules(TEXTS, TARGET, workers=0, cache=closed)) == alone
    assert os.access(closed, os.W_OK) or not entries(closed)


def test_no_temporary_file_is_left_behind(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError("no")
    monkeypatch.setattr(workers.os, "replace", refuse)
    compile_modules(TEXTS, TARGET, workers=0, cache=tmp_path)
    assert entries(tmp_path) == []


def test_the_key_is_everything_an_object_depends_on():
    from dataclasses import replace
    text = TEXTS["k0"]
    base = cache_key(text, TARGET, "3", ())
    others = [cache_key(text + " ", TARGET, "3", ()), cache_key(text, find("cortex-a53"), "3", ()), cache_key(text, TARGET, "2", ()),
              cache_key(text, TARGET, "3", ("asm",)), cache_key(text, replace(TARGET, features=(*TARGET.features, "crc")), "3", ())]
    assert len({base, *others}) == 1 + len(others)
    assert base == cache_key(text, replace(TARGET, emulator=None, seen="elsewhere"), "3", [])  # what runs the code does not change it
    assert cache_key(text, TARGET, "3", ("llvm", "asm")) == cache_key(text, TARGET, "3", ("asm", "llvm"))
