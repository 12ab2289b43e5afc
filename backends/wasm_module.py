"""WebAssembly modules: an object linked into one that stands alone, and run by an engine in this process (wasmtime, from `edgec[wasm]`).

The module exports its memory and the model's functions; whoever calls them puts the context struct, the inputs and the arena behind the
module's own data, where `__heap_base` says that they end.

    with WasmProgram(artifact.object, artifact.interface, [{"x": x}]) as program:
        program.run([{"x": x}])
"""
from __future__ import annotations

import importlib.util
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgec.backends.binding import Bound, bind_all, outputs_of
from edgec.backends.interface import Interface, layout
from edgec.errors import Internal, Unsupported

STACK_BYTES = 64 << 10      # beside what the model's own functions need, for those that call it
PAGE = 64 << 10
FUEL = 1 << 62              # an engine that counts instructions wants to know when to stop
PACKAGES = "lld"            # Debian's package with the linker


def find_linker() -> str | None:
    """`wasm-ld`, or the newest that has a version in its name; None without any."""
    versions = [f"wasm-ld-{number}" for number in range(30, 13, -1)]
    return next((name for name in ("wasm-ld", *versions) if shutil.which(name)), None)


def missing_tools() -> list[str]:
    """What linking and running needs and is not there."""
    return [*([] if find_linker() else ["wasm-ld"]), *([] if importlib.util.find_spec("wasmtime") else ["the Python package wasmtime"])]


def link(obj: bytes, interface: Interface) -> bytes:
    """A module that stands alone: the memory, the model's functions and `__heap_base` are exported, nothing is imported.

    `Unsupported` without a linker, `Internal` with its words when it refuses.
    """
    linker = find_linker()
    if linker is None:
        raise Unsupported("a WebAssembly module needs the linker wasm-ld", hint=f"on Debian: apt-get install {PACKAGES}")
    exported = [f"--export={name}" for name in (*sorted(interface.public_symbols), "__heap_base")]
    with tempfile.TemporaryDirectory(prefix="edgec-") as folder:
        (Path(folder) / "model.o").write_bytes(obj)
        stack = -(-(interface.stack_bytes + STACK_BYTES) // 16) * 16
        command = [linker, "model.o", "-o", "model.wasm", "--no-entry", *exported, "-z", f"stack-size={stack}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        if done.returncode:
            raise Internal("linking the WebAssembly module failed", notes=done.stderr.splitlines()[-8:])
        return (Path(folder) / "model.wasm").read_bytes()


class WasmProgram:
    """A model in an engine's memory, with buffers for the largest of `samples`; the counterpart of `emulate.Program`."""

    def __init__(self, obj: bytes, interface: Interface, samples: Sequence[Mapping[str, np.ndarray]]):
        """Link and load. `Unsupported` when the linker or the engine is missing."""
        module = link(obj, interface)
        try:
            import wasmtime
        except ImportError:
            raise Unsupported("running a WebAssembly module needs an engine", hint="pip install 'edgec[wasm]'") from None
        self.interface = interface
        config = wasmtime.Config()
        config.consume_fuel = True
        engine = wasmtime.Engine(config)
        self._store = wasmtime.Store(engine)
        self._store.set_fuel(FUEL)
        exports = wasmtime.Instance(self._store, wasmtime.Module(engine, module), []).exports(self._store)
        self._memory, self._run = exports["memory"], exports[interface.run_symbol]
        self._place(exports["__heap_base"].value(self._store), bind_all(interface, samples))

    def _place(self, start: int, samples: Sequence[Bound]) -> None:
        """Addresses behind the module's own data for the context, each port and the arena; the memory grows to hold them."""
        where = layout(self.interface, 32)
        inputs = [max(bound.inputs[n].nbytes for bound in samples) for n in range(len(self.interface.inputs))]
        outputs = [max(bound.output_bytes[n] for bound in samples) for n in range(len(self.interface.outputs))]
        addresses, end = [], start
        for size in (where.size, *inputs, *outputs, self.interface.arena_for(1), self.interface.state_bytes):
            addresses.append(-(-end // 64) * 64)
            end = addresses[-1] + size
        missing = -(-(end - self._memory.data_len(self._store)) // PAGE)
        if missing > 0:
            self._memory.grow(self._store, missing)
        self._context, *ports, self._arena, self._state = addresses
        self._inputs, self._outputs = ports[:len(inputs)], ports[len(inputs):]

    def run(self, samples: Sequence[Mapping[str, np.ndarray]], repeat: int = 1) -> list[dict[str, np.ndarray]]:
        """Outputs of each sample, called `repeat` times; what is kept between calls begins with zeros."""
        self._memory.write(self._store, bytes(self.interface.state_bytes), self._state)
        return [self._one(bound, repeat) for bound in bind_all(self.interface, samples)]

    def count_instructions(self, samples: Sequence[Mapping[str, np.ndarray]]) -> int:
        """WebAssembly instructions of one call, averaged over the samples, as the engine counts them."""
        before = self._store.get_fuel()
        self.run(samples)
        return (before - self._store.get_fuel()) // len(samples)

    def _one(self, bound: Bound, repeat: int) -> dict[str, np.ndarray]:
        self._fill(bound)
        for _ in range(repeat):
            if status := self._run(self._store, self._context):
                raise Internal(f"{self.interface.run_symbol} returned {status}")
        places = [*zip(self._outputs, bound.output_bytes), *((self._state + kept.offset, kept.bytes) for kept in self.interface.states)]
        sizes = [struct.unpack("<i", self._read(self._context + offset, 4))[0] for offset in layout(self.interface, 32).sizes]
        return outputs_of(self.interface, bound, sizes, [self._read(*place) for place in places])

    def _read(self, at: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, at, at + size))

    def _fill(self, bound: Bound) -> None:
        where = layout(self.interface, 32)
        context = bytearray(where.size)
        struct.pack_into("<I", context, 0, where.size)
        places = [*zip(where.inputs, self._inputs), *zip(where.outputs, self._outputs), (where.arena, self._arena),
                  (where.state, self._state)]
        for offset, address in (*places, *zip(where.dims, bound.dims)):
            struct.pack_into("<I", context, offset, address)
        self._memory.write(self._store, context, self._context)
        given = [*zip(self._inputs, bound.inputs), *((self._state + k.offset, a) for k, a in zip(self.interface.states, bound.states))]
        for address, array in given:
            if array is not None:
                self._memory.write(self._store, array.tobytes(), address)

    def close(self) -> None:
        """Nothing outlives the object."""

    def __enter__(self) -> WasmProgram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
