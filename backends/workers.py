"""Many modules at once: worker processes compile them, and a cache on disk remembers what they gave.

LLVM ends its process on a fatal error, so workers also keep a bad module from taking the caller down. A worker is this module run with
`python -m`, fed a pickled job on standard input. The cache is keyed by everything that decides the object: the module's text, the
target's text, the options and the versions of edgec, llvmlite and LLVM; entries appear by renaming, so no reader sees half a file.

    compile_modules({"k1": "define void @k1(...) ..."}, target, cache=Path("~/.cache/edgec").expanduser())
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache as once
from pathlib import Path
from typing import Any

import llvmlite

from edgec.backends.codegen import Compiled, compile_module
from edgec.backends.target import Target
from edgec.errors import Internal

IN_PROCESS = 2  # so few modules are not worth starting a worker for


def compile_modules(texts: Mapping[str, str], target: Target, optimize: str = "3", keep: Sequence[str] = (), *, workers: int | None = None,
                    cache: Path | None = None, progress: Callable[[int, int], None] | None = None) -> dict[str, Compiled]:
    """Every module compiled, by name, in the order given. `workers` defaults to the number of processors; 0 compiles in this process."""
    keys = {name: cache_key(text, target, optimize, keep) for name, text in texts.items()}
    done: dict[str, Compiled] = {n: c for n in texts if cache is not None and (c := recall(cache, keys[n])) is not None}
    missing = [n for n in texts if n not in done]
    workers = (os.cpu_count() or 1) if workers is None else workers
    if len(missing) <= IN_PROCESS or workers == 0:
        fresh = {n: compile_module(texts[n], target, optimize, keep) for n in missing}
    else:
        fresh = _in_workers({n: texts[n] for n in missing}, target, optimize, tuple(keep), min(workers, len(missing)), progress)
    for name, compiled in fresh.items():
        if cache is not None:
            remember(cache, keys[name], compiled)
    done.update(fresh)
    return {n: done[n] for n in texts}


def cache_key(text: str, target: Target, optimize: str, keep: Sequence[str]) -> str:
    """The SHA-256 of everything an object depends on."""
    versions = f"{llvmlite.__version__} {llvmlite.binding.llvm_version_info} codegen-1"
    parts = [text, target.text(), optimize, ",".join(sorted(keep)), versions]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@once
def own_code() -> str:
    """The SHA-256 of edgec's own sources: another version of the compiler finds nothing of this one's in the cache."""
    roots = [Path(importlib.import_module(name).__file__).parent for name in ("edgec", "edgec.passes", "edgec.backends")]
    digest = hashlib.sha256(f"{llvmlite.__version__} {llvmlite.binding.llvm_version_info}".encode())
    for file in sorted({file for root in roots for file in root.rglob("*.py")}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def recall(cache: Path, key: str) -> Any:
    """The entry of a key; None where there is none, or a damaged one."""
    try:
        data = (cache / key[:2] / key).read_bytes()
    except OSError:
        return None
    digest, body = data[:32], data[32:]
    return pickle.loads(body) if hashlib.sha256(body).digest() == digest else None


def remember(cache: Path, key: str, compiled: Any) -> None:
    """Store an entry; a cache that cannot be written is no error."""
    body = pickle.dumps(compiled)
    with suppress(OSError):
        folder = cache / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(body).digest() + body)
            os.replace(temporary, folder / key)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)


def _in_workers(texts: Mapping[str, str], target: Target, optimize: str, keep: tuple[str, ...], workers: int,
                progress: Callable[[int, int], None] | None) -> dict[str, Compiled]:
    """Long modules first, dealt out like cards."""
    order = sorted(texts, key=lambda n: -len(texts[n]))
    hands = [order[k::workers] for k in range(workers)]
    found: dict[str, Compiled] = {}

    def play(hand: list[str]) -> None:
        for name, compiled in _one_worker({n: texts[n] for n in hand}, target, optimize, keep):
            found[name] = compiled
            if progress is not None:
                progress(len(found), len(texts))

    with ThreadPoolExecutor(workers) as pool:
        for result in [pool.submit(play, hand) for hand in hands]:
            result.result()
    return found


def _one_worker(texts: Mapping[str, str], target: Target, optimize: str, keep: tuple[str, ...]):
    """(name, Compiled) as the worker delivers them; Internal names the module it died on."""
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, "-P", "-m", "edgec.backends.workers"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        pending = list(texts)
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(pickle.dumps((dict(texts), target, optimize, keep)))
                process.stdin.close()
            while pending:
                head = process.stdout.read(8)
                if len(head) < 8:
                    break
                body = process.stdout.read(size := struct.unpack("<Q", head)[0])
                if len(body) < size:
                    break
                result = pickle.loads(body)
                if isinstance(result, Exception):
                    raise result
                yield pending.pop(0), result
        finally:
            process.stdout.close()
            process.wait()
        if pending:
            errors.seek(0)
            said = errors.read().decode(errors="replace").splitlines()
            raise Internal(f"compiling {pending[0]} ended the worker process", notes=said[-6:],
                           hint="compile with --emit llvm to see its code")


def _work() -> None:
    texts, target, optimize, keep = pickle.load(sys.stdin.buffer)
    for text in texts.values():
        try:
            result: object = compile_module(text, target, optimize, keep, log_is_file=True)
        except Internal as error:
            result = error
        data = pickle.dumps(result)
        sys.stdout.buffer.write(struct.pack("<Q", len(data)) + data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _work()
