"""Run a compiled model on an emulated machine: a small C program around the object, a cross compiler, qemu.

The program reads all samples from a file and writes all outputs to another, so one start of the emulator serves many
samples. Executed instructions are the difference between two runs that differ in nothing but how often each sample is repeated.

    >>> emulate(artifact, [{"x": x}], count_instructions=True)
    Emulation(outputs=[{'y': array(...)}], instructions=25678)
"""
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgec.backends.binding import Bound, bind_all, outputs_of
from edgec.backends.header import header
from edgec.backends.interface import Interface
from edgec.backends.native import runs_here
from edgec.backends.target import Emulator, Target
from edgec.backends.wasm_module import WasmProgram, missing_tools as missing_for_wasm
from edgec.errors import Internal, Unsupported

BOARDS = Path(__file__).parent / "boards"
BARE_METAL = ("-nostartfiles", "--specs=rdimon.specs", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments")     # files by semihosting
PLACEMENTS = (("CODE", "RAM"), ("FAR", "RAM"), ("CODE", "FAR"), ("FAR", "FAR"))
SECONDS = 3600      # an emulated program that runs longer hangs
FAILURES = {1: "it could not open its files", 2: "its samples ended early", 3: "it could not write its outputs"}


@dataclass(frozen=True)
class Emulation:
    """What came out: outputs by name for each sample, and the guest instructions of one call, averaged over the samples."""
    outputs: list[dict[str, np.ndarray]]
    instructions: int | None


def emulate(artifact, samples: Sequence[Mapping[str, np.ndarray]], repeat: int = 1, count_instructions: bool = False) -> Emulation:
    """Run `artifact` (anything with `object`, `interface` and `target`) on each of `samples`, `repeat` calls a sample."""
    with program_for(artifact, samples) as program:
        outputs = program.run(samples, repeat)
        return Emulation(outputs, program.count_instructions(samples) if count_instructions else None)


def program_for(artifact, samples: Sequence[Mapping[str, np.ndarray]]) -> "Program | WasmProgram":
    """The model ready to run on `samples`, or others no larger."""
    if artifact.target.object_format == "wasm":
        return WasmProgram(artifact.object, artifact.interface, samples)
    return Program(artifact.object, artifact.interface, artifact.target, samples)


def missing_tools(target: Target) -> list[str]:
    """The programs that linking and running code for `target` needs and this computer does not have."""
    if target.object_format == "wasm":
        return missing_for_wasm()
    if target.emulator is None:
        return [f"an emulator for {target.name}"]
    if not target.emulator.qemu and not runs_here(target):
        return ["a processor with all of its features"]
    return [tool for tool in (target.emulator.gcc, target.emulator.qemu) if tool and not shutil.which(tool)]


class Program:
    """A model linked with driver.c, in a temporary folder of its own. Buffers are sized for `samples`; run it on no larger ones."""

    def __init__(self, obj: bytes, interface: Interface, target: Target, samples: Sequence[Mapping[str, np.ndarray]]):
        """Compile and link. `Unsupported` when tools are missing, `Internal` with the linker's words when it refuses."""
        _require_tools(target)
        self.interface, self.emulator = interface, target.emulator
        self._temporary = tempfile.TemporaryDirectory(prefix="edgec-")
        self.folder = Path(self._temporary.name)
        try:
            self._build(obj, bind_all(interface, samples))
        except BaseException:
            self.close()
            raise

    def _build(self, obj: bytes, samples: Sequence[Bound]):
        (self.folder / "model.o").write_bytes(obj)
        (self.folder / "model.h").write_text(header(self.interface))
        (self.folder / "ports.h").write_text(ports(self.interface, samples))
        compiler = [self.emulator.gcc, *self.emulator.gcc_flags]
        sources = [str(BOARDS / name) for name in (("driver.c", "startup.c") if self.emulator.board else ("driver.c",))]
        _call([*compiler, "-O2", "-std=gnu11", "-I.", "-c", *sources], self.folder, "compiling the driver")
        objects = [Path(source).stem + ".o" for source in sources] + ["model.o"]
        link = [*compiler, *objects, "-o", "program"]
        if self.emulator.board:
            self._link_for_board([*link, *BARE_METAL, "-T", "memory.ld"])
        else:
            _call(link, self.folder, "linking the model")

    def _link_for_board(self, link: list[str]):
        """Constants and buffers in the board's near memories if the linker finds room there, else in its far one."""
        board, sections = ((BOARDS / name).read_text() for name in (f"{self.emulator.board}.ld", "sections.ld"))
        for constants, buffers in PLACEMENTS:
            aliases = f'REGION_ALIAS("CONSTANTS", {constants})\nREGION_ALIAS("BUFFERS", {buffers})\n'
            (self.folder / "memory.ld").write_text(board + aliases + sections)
            try:
                return _call(link, self.folder, "linking the model")
            except Internal as error:
                failure = error
        raise failure

    def run(self, samples: Sequence[Mapping[str, np.ndarray]], repeat: int = 1) -> list[dict[str, np.ndarray]]:
        """Outputs of each sample."""
        bounds = bind_all(self.interface, samples)
        self._execute(bounds, repeat)
        return _unpack((self.folder / "results.bin").read_bytes(), self.interface, bounds)

    def count_instructions(self, samples: Sequence[Mapping[str, np.ndarray]]) -> int:
        """Guest instructions of one call, averaged over the samples: all else is the same in a run with two calls and one with one."""
        if not self.emulator.qemu:
            raise Unsupported("instructions are counted by the emulator, and none emulates this target")
        if not shutil.which("gcc"):
            raise Unsupported("counting instructions needs gcc to build a plugin for qemu", hint="apt-get install gcc libc6-dev")
        plugin = self.folder / "count_instructions.so"
        if not plugin.exists():
            source = str(BOARDS / "count_instructions.c")
            _call(["gcc", "-O2", "-shared", "-fPIC", source, "-o", str(plugin)], self.folder, "compiling the plugin")
        bounds = bind_all(self.interface, samples)
        once, twice = (self._execute(bounds, repeat, ("-plugin", "./count_instructions.so")) for repeat in (1, 2))
        return (_counted(twice) - _counted(once)) // len(samples)

    def _execute(self, samples: Sequence[Bound], repeat: int, options: tuple[str, ...] = ()) -> str:
        (self.folder / "samples.bin").write_bytes(_pack(samples, repeat, self.interface))
        done = _run(_command(self.emulator, options), self.folder)
        if done.returncode:
            reason = FAILURES.get(done.returncode, f"exit status {done.returncode}")
            raise Internal(f"the emulated program failed: {reason}", notes=(done.stdout + done.stderr).splitlines()[-5:])
        return done.stderr

    def close(self):
        """Remove the temporary folder."""
        self._temporary.cleanup()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_):
        self.close()


def ports(interface: Interface, samples: Sequence[Bound]) -> str:
    """ports.h of driver.c: buffers as large as the largest sample needs, and `bind`."""
    inputs = [max((bound.inputs[index].nbytes for bound in samples), default=0) for index in range(len(interface.inputs))]
    outputs = [max((bound.output_bytes[index] for bound in samples), default=0) for index in range(len(interface.outputs))]
    kept = [f"(void *)(state + {each.offset})" for each in interface.states]     # read with the inputs, written with the outputs
    lines = ['#include "model.h"', f"typedef {interface.prefix}_context model_context;", f"#define model_run {interface.run_symbol}",
             f"#define DIMS {len(interface.dims)}u", f"#define INPUTS {len(inputs) + len(kept)}u",
             f"#define OUTPUTS {len(outputs) + len(kept)}u", f"#define SIZES {len(interface.sizes)}u",
             _buffer("arena", interface.arena_for(1), interface.arena_align),
             _buffer("state", interface.state_bytes, interface.arena_align)]
    for side, sizes in (("input", inputs), ("output", outputs)):
        lines += [_buffer(f"{side}_{index}", size, 64) for index, size in enumerate(sizes)]
        places = [*(f"{side}_{index}" for index in range(len(sizes))), *kept]
        lines.append(f"static void *const {side}s[] = {{{', '.join(places) or '0'}}};")
    lines += ["static void bind(model_context *context, const int32_t *dims) {", "    (void)context, (void)dims;"]
    lines += [f"    context->in.{port.c_name} = (const void *)input_{index};" for index, port in enumerate(interface.inputs)]
    lines += [f"    context->in.{name} = dims[{index}];" for index, (name, _, _) in enumerate(interface.dims)]
    lines += [f"    context->out.{port.c_name} = (void *)output_{index};" for index, port in enumerate(interface.outputs)]
    lines += ["    context->state = state;"] if kept else []
    lines += [f"    {interface.init_symbol}(context);"] if interface.levels else []
    lines += ["}", "static void sizes_of(const model_context *context, int32_t *sizes) {", "    (void)context, (void)sizes;"]
    lines += [f"    sizes[{index}] = context->out.{name};" for index, (name, _, _) in enumerate(interface.sizes)]
    return "\n".join([*lines, "}", ""])


def _buffer(name: str, size: int, align: int) -> str:
    return f'static unsigned char {name}[{max(size, 1)}] __attribute__((aligned({align}), section(".bss.buffers")));'


def _pack(samples: Sequence[Bound], repeat: int, interface: Interface) -> bytes:
    """samples.bin of driver.c; a state that is not given is nothing to read: it stays as it is, and is zero at first."""
    parts = [struct.pack("<2I", len(samples), repeat)]
    kept = [each.bytes for each in interface.states]
    for bound in samples:
        parts.append(struct.pack(f"<{len(bound.dims)}i", *bound.dims))
        for array in (*bound.inputs, *bound.states):
            parts += [struct.pack("<I", 0)] if array is None else [struct.pack("<I", array.nbytes), array.tobytes()]
        parts.append(b"".join(struct.pack("<I", size) for size in (*bound.output_bytes, *kept)))
    return b"".join(parts)


def _unpack(results: bytes, interface: Interface, samples: Sequence[Bound]) -> list[dict[str, np.ndarray]]:
    outputs, position = [], 0
    for number, bound in enumerate(samples):
        status, = struct.unpack_from("<i", results, position)
        if status:
            raise Internal(f"{interface.run_symbol} returned {status} for sample {number}")
        sizes = struct.unpack_from(f"<{len(interface.sizes)}i", results, position + 4)
        position += 4 + 4 * len(sizes)
        held = []
        for size in (*bound.output_bytes, *(kept.bytes for kept in interface.states)):
            held.append(results[position:position + size])
            position += size
        outputs.append(outputs_of(interface, bound, sizes, held))
    return outputs


def _command(emulator: Emulator, options: tuple[str, ...]) -> list[str]:
    if not emulator.board:
        return [emulator.qemu, *emulator.qemu_flags, *options, "./program"] if emulator.qemu else ["./program"]
    return [emulator.qemu, "-M", emulator.board, *emulator.qemu_flags, *options, "-nographic", "-monitor", "none", "-serial", "null",
            "-semihosting-config", "enable=on,target=native", "-kernel", "program"]


def _call(command: list[str], folder: Path, doing: str):
    done = _run(command, folder)
    if done.returncode:
        raise Internal(f"{doing} failed", notes=done.stderr.splitlines()[-8:])


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Internal(f"{command[0]} did not finish within {SECONDS} seconds") from error


def _counted(messages: str) -> int:
    return int(re.search(r"instructions=(\d+)", messages).group(1))


def _require_tools(target: Target):
    missing = missing_tools(target)
    if missing:
        packages = target.emulator.packages if target.emulator else ()
        hint = f"on Debian: apt-get install {' '.join(packages)}" if packages else ""
        raise Unsupported(f"running code for {target.name} needs {' and '.join(missing)}", hint=hint)
