"""What compiling gives: the object, the header and the facts; it writes itself to files and runs itself.

Files appear whole or not at all: each is written under another name in the same folder and renamed once all are complete.

    artifact = compile(graph, target)
    artifact.write("build", emit={"obj", "header", "json"})      # build/net.o, build/net.h, build/net.json
    artifact.run({"image": image})["probabilities"]
"""
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EISDIR
from functools import cached_property
from pathlib import Path

import numpy as np

from edgec.backends import archive
from edgec.backends.emulate import emulate
from edgec.backends.header import header
from edgec.backends.inspect_object import defined_globals
from edgec.backends.interface import Interface
from edgec.backends.native import Loaded, runs_here, same_architecture
from edgec.backends.target import Target
from edgec.backends.wasm_module import link
from edgec.errors import CompileError, Internal, Unsupported
from edgec.text_slots import ports_from_slots, ports_to_slots

SUFFIXES = {"obj": ".o", "header": ".h", "json": ".json", "archive": ".a", "shared": ".so", "llvm": ".ll", "asm": ".s",
            "wasm": ".wasm"}


@dataclass(frozen=True)
class Artifact:
    """A compiled model. `manifest` is plain data for model.json; `llvm` and `asm` are there when they were asked for."""
    interface: Interface
    target: Target
    object: bytes
    manifest: dict
    llvm: str | None = None
    asm: str | None = None

    @property
    def header(self) -> str:
        """The C header."""
        return header(self.interface)

    def archive(self) -> bytes:
        """A static library with the object as its one member."""
        return archive.archive([(self.interface.prefix + ".o", self.object, defined_globals(self.object))])

    def shared_library(self) -> bytes:
        """A shared library, linked by the C compiler for the target. `Unsupported` without one, or where code cannot be moved."""
        if self.target.relocation == "static":
            raise Unsupported(f"{self.target.name} has no shared libraries")
        with tempfile.TemporaryDirectory(prefix="edgec-") as folder:
            (Path(folder) / "model.o").write_bytes(self.object)
            command = [_c_compiler(self.target), "-shared", "-nostdlib", "model.o", "-o", "model.so"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
            if done.returncode:
                raise Internal("linking the shared library failed", notes=done.stderr.splitlines()[-8:])
            return (Path(folder) / "model.so").read_bytes()

    def wasm_module(self) -> bytes:
        """A WebAssembly module that stands alone, linked by wasm-ld. `Unsupported` for other targets, or without the linker."""
        if self.target.object_format != "wasm":
            raise Unsupported(f"{self.target.name} is no WebAssembly", hint="compile for wasm32")
        return link(self.object, self.interface)

    def contents(self, kind: str) -> bytes:
        """What a file of this kind (a key of SUFFIXES) holds."""
        match kind:
            case "obj":
                return self.object
            case "header":
                return self.header.encode()
            case "json":
                return (json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n").encode()
            case "archive":
                return self.archive()
            case "shared":
                return self.shared_library()
            case "wasm":
                return self.wasm_module()
            case "llvm" | "asm":
                text = self.llvm if kind == "llvm" else self.asm
                if text is None:
                    raise Unsupported(f"the {kind} text was not kept", hint=f"ask for {kind} when compiling")
                return text.encode()
        raise Unsupported(f"cannot emit {kind!r}; known kinds: {', '.join(SUFFIXES)}")

    def write(self, folder: str | Path, emit: Collection[str] = ("obj", "header", "json"), stem: str | None = None) -> list[Path]:
        """Write `<folder>/<stem>.<suffix>` for each kind in `emit`; the stem is the prefix by default. All files appear, or none."""
        contents = {kind: self.contents(kind) for kind in sorted(set(emit))}
        return write_files({Path(folder) / ((stem or self.interface.prefix) + SUFFIXES[kind]): data for kind, data in contents.items()})

    def run(self, inputs: Mapping[str, np.ndarray], *, threads: int = 1) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name, in this process where it can execute the code, otherwise under emulation.

        What the model keeps between calls begins with what `inputs` give for it, else with zeros, and is among the outputs. More `threads`
        than one are started for this call alone (keep a `load(threads)` for many calls); `Unsupported` under emulation. Strings are arrays
        of text here, and slots of bytes for whoever calls the code itself.
        """
        return self.run_steps([inputs], threads=threads)[0]

    def run_steps(self, samples: Sequence[Mapping[str, np.ndarray]], *, threads: int = 1) -> list[dict[str, np.ndarray]]:
        """As `run`, call after call: the later ones go on with the state that the earlier have left."""
        slots = [ports_to_slots(self.interface.inputs, inputs) for inputs in samples]
        return [ports_from_slots(self.interface.outputs, results) for results in self._run(slots, threads)]

    def _run(self, samples: Sequence[Mapping[str, np.ndarray]], threads: int) -> list[dict[str, np.ndarray]]:
        if runs_here(self.target):
            if threads == 1:
                return _called(self.loaded, samples)
            with self.load(threads) as loaded:
                return _called(loaded, samples)
        if threads > 1:
            raise Unsupported(f"{self.target.name} is emulated here, with one thread", hint="leave out the number of threads")
        return emulate(self, samples).outputs

    def load(self, threads: int = 1) -> Loaded:
        """The model placed in this process's memory, with so many threads; the caller closes it."""
        return Loaded(self.object, self.interface, threads=threads)

    @cached_property
    def loaded(self) -> Loaded:
        """The model placed in this process's memory, once."""
        return self.load()


def _called(loaded: Loaded, samples: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Outputs of call after call from the first state on, the states they leave among them."""
    loaded.reset()
    outputs = {kept.port.name: kept.output for kept in loaded.interface.states}
    return [loaded.run(inputs) | {outputs[name]: array.copy() for name, array in loaded.state.items()} for inputs in samples]


def write_files(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write every file, all or none; `CompileError` names the path and the reason. Missing folders are made, and removed on failure."""
    made: list[Path] = []
    pending: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in contents.items():
            _make_folders(path.parent, made)
            pending.append((path.with_name(f".{path.name}.{os.getpid()}.part"), path))
            _write_file(pending[-1][0], data)
        for _, path in pending:
            _require_replaceable(path)
        for part, path in pending:
            os.replace(part, path)
    except OSError as error:
        _remove([part for part, _ in pending], made)
        raise CompileError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        _remove([part for part, _ in pending], made)
        raise
    return [path for _, path in pending]


def _write_file(path: Path, data: bytes):
    with open(path, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view):]


def _require_replaceable(path: Path):
    """What the renaming of files would stumble over half-way."""
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR))


def _make_folders(folder: Path, made: list[Path]):
    """Make the folder and those above it that are missing, and add each to `made`."""
    for each in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
        each.mkdir()
        made.append(each)


def _remove(files: list[Path], folders: list[Path]):
    for file in files:
        with suppress(OSError):
            file.unlink()
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def _c_compiler(target: Target) -> str:
    candidates = ["cc", "gcc", "clang"] if same_architecture(target) else [target.emulator.gcc] if target.emulator else []
    for compiler in candidates:
        if shutil.which(compiler):
            return compiler
    raise Unsupported(f"a shared library for {target.name} needs a C compiler ({' or '.join(candidates) or 'none is known'})",
                      hint="the object file and the static library need none")
