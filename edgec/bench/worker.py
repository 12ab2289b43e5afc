"""One runner in a process of its own, which does nothing but wait for questions: load, run, time. It is `python -m edgec.bench.worker`.

    with Worker(peer_job("onnxruntime", "model.onnx", 1, ["y"]), {"x": x}) as worker:
        worker.ask("load")                         # Report(load_seconds=..., peak_bytes=..., outputs={"y": array}, calls=("run",))
        worker.ask("time", "run", 0.1)             # seconds of each call

So every runtime has its own memory, threads and crashes; while one is timed, the others are blocked on their pipe.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from typing import Any

import numpy as np

from edgec.errors import ModelError

ANSWER_SECONDS = 300.0  # a runner that says nothing for so long is ended


class Lost(ModelError):
    """A runner that raised, crashed or hung; the message says which."""


@dataclass(frozen=True)
class Job:
    """What a worker loads: a function by `module:name`, called there with `arguments`; it returns a `Contestant`.

    `modules` are imported as soon as the process starts, so that their imports go side by side and are not part of the loading time.
    """

    name: str
    function: str
    arguments: tuple[Any, ...]
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What loading gave: seconds, peak bytes of the process after the first run (0 where the system does not tell), that run's outputs."""

    load_seconds: float
    peak_bytes: int
    outputs: Mapping[str, np.ndarray]
    calls: tuple[str, ...]


class Worker:
    """The process of one job; `ask` raises Lost, after which the worker is gone. Use it in a `with`."""

    def __init__(self, job: Job, arrays: Mapping[str, np.ndarray]):
        """Start the process and hand it the job; nothing is waited for."""
        self.name = job.name
        self._said = tempfile.TemporaryFile()
        self._pipe, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            command = [sys.executable, "-m", "edgec.bench.worker_process", str(handle)]
            self._process = subprocess.Popen(command, pass_fds=[handle], stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said)
        self._send((job, dict(arrays)))

    def ask(self, *question: Any, seconds: float = ANSWER_SECONDS) -> Any:
        """The answer to a question, see worker_process."""
        self._send(question)
        try:
            if not self._pipe.poll(seconds):
                self._process.kill()
                raise Lost(f"{self.name} gave no answer within {seconds:.0f} s")
            answer, reason = self._pipe.recv()
        except (EOFError, OSError):
            raise Lost(f"{self.name} {self._end()}") from None
        if reason:
            raise Lost(reason)
        return answer

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:  # the process has ended; the next `ask` tells how
            pass

    def _end(self) -> str:
        """How the process ended, with the last line it wrote."""
        status = self._process.wait()
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1]}" if lines else how

    def close(self) -> None:
        """End the process; also one that hangs."""
        self._pipe.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def peer_job(text: str, model: str, threads: int, outputs: Sequence[str]) -> Job:
    """Another runtime, see `peers`."""
    from edgec.bench.peers import PEERS

    name = text.partition("=")[0]
    return Job(name, "edgec.bench.contestant:peer", (text, model, threads, tuple(outputs)), (PEERS[name].module,))


def compiled_job(name: str, artifact: Any, threads: int = 1, *, bare: bool = False) -> Job:
    """A compiled model; with `bare` also "call" is timed, the C function without Python."""
    return Job(name, "edgec.bench.contestant:compiled", (artifact.object, artifact.interface, threads, bare), ("edgec.backends.native",))
