"""Artifacts: files appear whole or not at all, libraries link, and a model runs wherever its target is."""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from edgec.backends import artifact as artifact_module
from edgec.backends.artifact import Artifact, write_files
from edgec.backends.target import all_targets
from edgec.errors import CompileError, Unsupported

NATIVE = next(target for target in all_targets() if target.seen)
STATIC = next(target for target in all_targets() if target.relocation == "static")


@pytest.fixture
def artifact(models) -> Artifact:
    built = models.classifier(NATIVE)
    return Artifact(built.interface, NATIVE, built.object, {"name": "größe", "kernels": 3}, asm="net_run:\n")


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_writes_what_was_asked_for(artifact, tmp_path):
    paths = artifact.write(tmp_path / "a" / "b", emit={"obj", "header", "json", "asm"}, stem="model")
    assert sorted(path.name for path in paths) == ["model.h", "model.json", "model.o", "model.s"]
    assert everything_in(tmp_path) == sorted([tmp_path / "a", tmp_path / "a" / "b", *paths])
    assert (tmp_path / "a/b/model.o").read_bytes() == artifact.object
    assert (tmp_path / "a/b/model.h").read_text() == artifact.header
    assert json.loads((tmp_path / "a/b/model.json").read_text()) == artifact.manifest


def test_writing_again_replaces(artifact, tmp_path):
    (tmp_path / "net.o").write_bytes(b"old")
    artifact.write(tmp_path)
    assert (tmp_path / "net.o").read_bytes() == artifact.object


@pytest.mark.parametrize("emit, message", [({"exe"}, "cannot emit 'exe'; known kinds: obj, header"),
                                           ({"obj", "llvm"}, "llvm text was not kept")])
def test_what_cannot_be_emitted_writes_nothing(artifact, emit, message, tmp_path):
    with pytest.raises(Unsupported, match=message):
        artifact.write(tmp_path / "new", emit=emit)
    assert everything_in(tmp_path) == []


def test_a_folder_that_cannot_be_made(artifact, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CompileError, match="cannot write .*taken/below/net"):
        artifact.write(tmp_path / "taken" / "below")
    assert everything_in(tmp_path) == [tmp_path / "taken"]


def test_a_folder_in_the_place_of_a_file_is_found_before_anything_is_replaced(artifact, tmp_path):
    (tmp_path / "net.o").mkdir()
    (tmp_path / "net.h").write_text("old")
    before = everything_in(tmp_path)
    with pytest.raises(CompileError, match="net.o: Is a directory"):
        artifact.write(tmp_path)
    assert everything_in(tmp_path) == before
    assert (tmp_path / "net.h").read_text() == "old"


FULL_DISK = """
import sys
from pathlib import Path
from edgec.backends.artifact import write_files
from edgec.errors import CompileError
folder = Path(sys.argv[1])
try:
    write_files({folder / "new" / "small": b"x" * 100, folder / "new" / "large": b"x" * 100_000})
except CompileError as error:
    print(error)
"""


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], preexec_fn=limit, capture_output=True, text=True,
                          env=environment)
    assert done.stdout == f"cannot write {tmp_path}/new/large: File too large\n", done.stderr
    assert everything_in(tmp_path) == []


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(path, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact_module, "_write_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_files({tmp_path / "new" / "file": b""})
    assert everything_in(tmp_path) == []


def test_header_object_and_archive_make_a_program(artifact, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc not installed")
    artifact.write(tmp_path, emit={"archive", "header"})
    (tmp_path / "main.c").write_text("""
#include "net.h"
static unsigned char arena[NET_ARENA_BYTES(1)] __attribute__((aligned(NET_ARENA_ALIGN)));
int main(void) {
    float x[NET_IN_X_SIZE] = {0}, y[NET_OUT_Y_SIZE];
    int32_t k[2][2] = {{9, 9}, {9, 9}};
    const net_inputs in = {x, k[0]};
    const net_outputs out = {y};
    return net(&in, &out, arena) + (int)y[2];
}
""")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "main.c", "net.a", "-o", "program"], cwd=tmp_path, check=True)
    assert subprocess.run(["./program"], cwd=tmp_path).returncode == 30


def test_shared_library(target, models, require_tools):
    built = models.classifier(target)
    artifact = Artifact(built.interface, target, built.object, {})
    if target.relocation == "static":
        with pytest.raises(Unsupported, match="has no shared libraries"):
            artifact.shared_library()
        return
    require_tools(target)
    library = ELFFile(BytesIO(artifact.shared_library()))
    assert library["e_type"] == "ET_DYN"
    assert not list(library.get_section_by_name(".dynamic").iter_tags("DT_NEEDED"))
    assert [symbol.name for symbol in library.get_section_by_name(".dynsym").iter_symbols() if symbol.name] == ["net_run"]


def test_shared_library_without_a_compiler(artifact, monkeypatch):
    monkeypatch.setattr(artifact_module.shutil, "which", lambda tool: None)
    with pytest.raises(Unsupported, match="needs a C compiler"):
        artifact.shared_library()


def test_runs_wherever_its_target_is(target, models, samples, require_tools):
    require_tools(target)
    built = models.classifier(target)
    artifact = Artifact(built.interface, target, built.object, {})
    for sample in samples[:2]:
        np.testing.assert_array_equal(artifact.run(sample)["y"], models.reference(sample["the x"], sample["k"]))
