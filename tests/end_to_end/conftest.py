"""What the end-to-end tests share: the digits network with its data, its compiled forms, and C programs linked for any target.

    program = build(artifact, {"main.c": text}, folder)      # linked with the object alone, on a board with start-up code
    assert program.run().returncode == 0
"""
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edgec
from edgec.backends.artifact import Artifact
from edgec.backends.emulate import BARE_METAL, BOARDS, missing_tools
from edgec.backends.native import runs_here
from edgec.backends.target import Target, all_targets, find

DIGITS = Path(__file__).resolve().parents[2] / "testdata" / "digits"
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-dangling-pointer")
NEAR = 'REGION_ALIAS("CONSTANTS", CODE)\nREGION_ALIAS("BUFFERS", RAM)\n'        # the network is small enough for a board's near memories


@dataclass(frozen=True)
class Program:
    """A linked program: `run` starts it here, under qemu-user or on an emulated board."""

    folder: Path
    target: Target

    def run(self) -> subprocess.CompletedProcess:
        emulator = self.target.emulator
        command = [emulator.qemu, *emulator.qemu_flags, "./program"] if emulator.qemu else ["./program"]
        if emulator.board:
            command = [emulator.qemu, "-M", emulator.board, *emulator.qemu_flags, "-nographic", "-monitor", "none", "-serial", "null",
                       "-semihosting-config", "enable=on,target=native", "-kernel", "program"]
        return subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def build_program(artifact: Artifact, sources: dict[str, str], folder: Path, *objects: str) -> Program:
    """Link C files given as text with the artifact's object and further objects in the folder; a board also gets what leads it to main."""
    target = artifact.target
    artifact.write(folder, emit={"obj", "header"})
    for name, text in sources.items():
        (folder / name).write_text(text)
    compiler = [target.emulator.gcc, *target.emulator.gcc_flags]
    subprocess.run([*compiler, "-std=gnu11", "-O1", *WARNINGS, "-c", *sources], cwd=folder, check=True)
    objects = [*(Path(name).stem + ".o" for name in sources), artifact.interface.prefix + ".o", *objects]
    board = board_files(target, folder, compiler) if target.emulator.board else []
    subprocess.run([*compiler, *objects, *board, "-o", "program"], cwd=folder, check=True)
    return Program(folder, target)


def board_files(target: Target, folder: Path, compiler: list[str]) -> list[str]:
    """Start-up code and linker script of the target's board, as further arguments of the link."""
    memory, sections = ((BOARDS / name).read_text() for name in (f"{target.emulator.board}.ld", "sections.ld"))
    (folder / "memory.ld").write_text(memory + NEAR + sections)
    subprocess.run([*compiler, "-O1", "-c", str(BOARDS / "startup.c")], cwd=folder, check=True)
    return ["startup.o", *BARE_METAL, "-T", "memory.ld"]


@cache
def compiled_once(file: str, target: Target, bind: tuple[tuple[str, int | str], ...]) -> Artifact:
    return edgec.compile(DIGITS / file, target, bind=dict(bind))

# Some processors no emulator knows: code for them runs where they are.
RUNNABLE = [target for target in all_targets() if runs_here(target) or target.emulator and target.emulator.qemu]


@pytest.fixture(scope="session")
def compiled():
    """compiled(target, "digits_dyn.onnx", N="1..8"): the network as an artifact, compiled once."""
    return lambda target, file="digits.onnx", **bind: compiled_once(file, target, tuple(sorted(bind.items())))


@pytest.fixture(scope="session")
def digits() -> SimpleNamespace:
    """Images f32[450, 1, 8, 8], their labels, the folder, and `interpret`: probabilities f32[n, 10] of images f32[n, 1, 8, 8]."""
    with np.load(DIGITS / "digits.npz") as data:
        images, labels = data["inputs"], data["labels"]
    graph = edgec.load(DIGITS / "digits.onnx")
    answers = cache(lambda index: edgec.interpret(graph, {"image": images[index:index + 1]})["probabilities"])
    return SimpleNamespace(images=images, labels=labels, folder=DIGITS, answers=lambda rows: np.concatenate([answers(row) for row in rows]))


def runnable(target: Target) -> Target:
    """The target; skips the test, naming the missing tools, where its code cannot be linked and run."""
    missing = missing_tools(target)
    return pytest.skip(f"{target.name}: {', '.join(missing)} not installed") if missing else target


@pytest.fixture(scope="session", params=RUNNABLE, ids=lambda target: target.name)
def target(request) -> Target:
    """Every target in turn."""
    return runnable(request.param)


# The first described target of each instruction set and vector width: cores that differ only in their timing get much the same code.
KINDS = {(target.triple.split("-")[0], target.vector_bits): target for target in reversed(all_targets())
         if target.name != "native" and target.emulator}


@pytest.fixture(scope="session", params=reversed(KINDS.values()), ids=lambda target: target.name)
def kind(request) -> Target:
    """One target of each kind in turn."""
    return runnable(request.param)


@pytest.fixture
def require():
    """require("cortex-m4"): that target, where its code can be linked and run."""
    return lambda name: runnable(find(name))


@pytest.fixture(scope="session")
def build():
    return build_program


@pytest.fixture
def tool():
    """tool(target, "nm"): the binutils program that belongs to the target's compiler; skips the test when it is missing."""
    def find(target: Target, name: str) -> str:
        path = shutil.which(target.emulator.gcc.removesuffix("gcc") + name)
        return path or pytest.skip(f"{target.name}: no {name} installed")
    return find
