"""Times candidates: in a worker process here, or in a small program that a command of the user's runs elsewhere.

    with LocalTimer(find("native"), working_set=20 << 20) as timer:
        timer.time([candidate, other])                    # [3.1e-05, 2.9e-05]; infinity for one that crashed or hung

A command template has {program} where the program's file goes: 'qemu-aarch64 {program}', 'scp {program} board: && ssh board ./timing'.
"""

from __future__ import annotations

import math
import os
import pickle
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from edgec.backends.emulate import BOARDS
from edgec.backends.repeated import Candidate, repeated_object
from edgec.backends.target import Target
from edgec.backends.workers import compile_modules
from edgec.errors import Internal, Unsupported

HANGS = 120.0  # seconds after which a batch is given up
FLOATS = {"f32": 1, "f64": 2, "f16": 3, "bf16": 4}  # how the program fills memory; 0 is for integers


class Timer(Protocol):
    """Whoever can time candidates."""

    def time(self, candidates: Sequence[Candidate]) -> list[float]:
        """Seconds of one call of each, measured in turn; infinity for those that do not run."""

    def close(self) -> None:
        """Free what it holds."""


class LocalTimer:
    """Candidates compiled and run by `edgec.tune_worker`, which is started again when it dies."""

    def __init__(self, target: Target, working_set: int, optimize: str = "3", hangs: float = HANGS):
        self.target, self.working_set, self.optimize, self.hangs = target, working_set, optimize, hangs
        self._process: subprocess.Popen | None = None

    def time(self, candidates: Sequence[Candidate]) -> list[float]:
        """As Timer.time; a candidate that ends the worker is left out, and the others are tried again."""
        found = [math.inf] * len(candidates)
        left = list(range(len(candidates)))
        while left:
            ready, times = self._batch([candidates[n] for n in left])
            if times is not None:
                for n, seconds in zip(left, times):
                    found[n] = seconds
                return found
            self.close()
            # Whoever was not ready ended the worker; when all were, it is not known who did: each is tried alone.
            if ready < len(left):
                del left[ready]
            elif len(left) == 1:
                return found
            else:
                for n in left:
                    found[n], = self.time([candidates[n]])
                return found
        return found

    def _batch(self, candidates: Sequence[Candidate]) -> tuple[int, list[float] | None]:
        """How many were ready, and the times, None where the worker died."""
        process = self._start()
        watch = threading.Timer(self.hangs, process.kill)
        watch.start()
        ready = 0
        try:
            process.stdin.write(pickle.dumps((self.target, self.optimize, self.working_set, tuple(candidates))))
            process.stdin.flush()
            while (answer := _read(process.stdout)) is not None:
                if answer[0] == "times":
                    return ready, answer[1]
                ready += 1
        except BrokenPipeError:
            pass
        finally:
            watch.cancel()
        return ready, None

    def _start(self) -> subprocess.Popen:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-P", "-m", "edgec.tune_worker"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self._process

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> LocalTimer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _read(stream: Any) -> Any:
    head = stream.read(8)
    if len(head) < 8:
        return None
    body = stream.read(size := struct.unpack("<Q", head)[0])
    return pickle.loads(body) if len(body) == size else None


class RemoteTimer:
    """Candidates linked into a program by the target's C compiler, which a command runs; it prints a line for each."""

    def __init__(self, target: Target, template: str, working_set: int, optimize: str = "3", hangs: float = HANGS):
        """Unsupported where the program cannot be built or the template has no place for it."""
        if "{program}" not in template:
            raise Unsupported(f"the command '{template}' does not say where the program goes", hint="write {program} there")
        if target.emulator is None or target.emulator.board:
            raise Unsupported(f"a program that reads the clock cannot be built for {target.name}", hint="it needs an operating system")
        if not shutil.which(target.emulator.gcc):
            raise Unsupported(f"timing on {target.name} needs {target.emulator.gcc}, which is not installed",
                              hint=f"on Debian: apt-get install {' '.join(target.emulator.packages)}")
        self.target, self.template, self.working_set, self.optimize, self.hangs = target, template, working_set, optimize, hangs

    def time(self, candidates: Sequence[Candidate]) -> list[float]:
        """As Timer.time; when the program fails each candidate is tried alone. Unsupported when not even one gives a time."""
        texts = {str(n): c.text.replace("@KERNEL(", "@candidate(") for n, c in enumerate(candidates)}
        try:
            kernels = [c.object for c in compile_modules(texts, self.target, self.optimize).values()]
            times, said = self._run(candidates, kernels)
        except Internal as problem:  # one that LLVM refuses, or does not survive
            times, said = None, problem.message
        if times is not None:
            return times
        if len(candidates) == 1:
            raise Unsupported("the command did not time the program", hint=f"it was: {self.template}\n{said}")
        found = []
        for candidate in candidates:
            try:
                found += self.time([candidate])
            except Unsupported:
                found.append(math.inf)
        if all(map(math.isinf, found)):
            raise Unsupported("the command did not time the program", hint=f"it was: {self.template}\n{said}")
        return found

    def _run(self, candidates: Sequence[Candidate], kernels: Sequence[bytes]) -> tuple[list[float] | None, str]:
        with tempfile.TemporaryDirectory(prefix="edgec-") as folder:
            self._build(Path(folder), candidates, kernels)
            command = self.template.replace("{program}", shlex.quote(str(Path(folder) / "timing")))
            done = _done_within(self.hangs, command)
        if done is None:
            return None, f"it did not end within {self.hangs:.0f} seconds"
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("candidate ")]
        if done.returncode or len(lines) != len(candidates):
            return None, "\n".join((done.stdout + done.stderr).splitlines()[-4:])
        return [float(seconds) for _, seconds in lines], ""

    def _build(self, folder: Path, candidates: Sequence[Candidate], kernels: Sequence[bytes]) -> None:
        objects = []
        for n, (candidate, kernel) in enumerate(zip(candidates, kernels)):
            objects.append(f"again_{n}.o")
            (folder / objects[-1]).write_bytes(repeated_object(candidate, self.target, f"again_{n}", kernel=kernel))
        (folder / "candidates.h").write_text(candidates_text(candidates, self.working_set))
        gcc = [self.target.emulator.gcc, *self.target.emulator.gcc_flags]
        done = subprocess.run([*gcc, "-O2", "-std=gnu11", "-I.", str(BOARDS / "timing.c"), *objects, "-o", "timing"], cwd=folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise Internal("linking the timing program failed", notes=done.stderr.splitlines()[-8:])

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> RemoteTimer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _done_within(seconds: float, command: str) -> subprocess.CompletedProcess | None:
    """What became of a shell's command; None when its time is over. All that it started ends with it, not the shell alone."""
    with subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", start_new_session=True) as process:
        try:
            said = process.communicate(timeout=seconds)
            return subprocess.CompletedProcess(command, process.returncode, *said)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def candidates_text(candidates: Sequence[Candidate], working_set: int) -> str:
    """candidates.h of timing.c: every candidate's function, rows and parameters."""
    lines = []
    for n, candidate in enumerate(candidates):
        rows = ", ".join(f"{{{p.size}, {p.element}, {FLOATS.get(p.dtype, 0)}, {int(p.constant)}}}" for p in candidate.parameters)
        lines += [f"void again_{n}(void **table, intptr_t rows);", f"static const struct parameter parameters_{n}[] = {{{rows}}};"]
    lines.append("static const struct candidate candidates[] = {")
    lines += [f"    {{again_{n}, parameters_{n}, {len(c.parameters)}, {c.copies(working_set)}}}," for n, c in enumerate(candidates)]
    return "\n".join([*lines, "};", ""])
