"""Threads for models that run in this process: an executor whose inner functions are LLVM IR, so that no C compiler is needed.

Python only starts the threads; each enters the function @worker and stays there without holding Python's lock. A worker looks for work for
a moment and then sleeps until it is woken. `edgec_pthreads.c` is the same pool in C.

A job is `count` calls. Every slot has a counter of its own, the job's number in its upper half and the next index in its lower one, and
takes from its own share of the indices first, so that it finds in its cache what it left there, then from the others' shares. An index is
taken by exchanging the whole counter, which fails when the job is over: a thread that comes late finds nothing, and nobody waits for it.

A model that all threads run together is another kind of job: a word holds the job's number, whether it is open, and how many are in its
body. Who comes enters by exchanging that word, may leave and enter again while the job is open, and never enters afterwards; the caller
closes it when its own call has returned and waits for those who are inside, not for those who have not come.

On Linux the others keep off the processor that the caller is on, as long as there are enough: a thread that is woken is often put there,
and would wait for it while another one is idle.

    with Pool(4) as pool: ...       # pool.address is an edgec_executor
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref

import llvmlite.binding as llvm
import numpy as np

from edgec.backends.interface import ExecutorLayout
from edgec.backends.machine import initialise
from edgec.backends.pool_program import (
    ALLOWED,
    CALLER,
    CLOSED,
    CONDITION,
    COUNTERS,
    FACTS,
    GETCPU,
    LINE,
    MUTEX,
    PROCESSORS,
    PROGRAM,
    SET_BYTES,
    SETAFFINITY,
    SLOTS,
    TEAM,
    THREAD,
)
from edgec.errors import Unsupported

NEEDED = ("sched_yield", "pthread_mutex_init", "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_init", "pthread_cond_wait",
          "pthread_cond_broadcast")


class Pool:
    """`slots` threads, one of which is whoever calls; close it, or use it in a `with`, to end the others."""

    def __init__(self, slots: int):
        """`Unsupported` where the system has no POSIX threads."""
        self.slots = slots
        self._engine = _engine()
        self._memory = np.zeros(COUNTERS + LINE * (slots + 1), np.uint8)
        self.address = self._memory.ctypes.data + -self._memory.ctypes.data % LINE
        self._prepare()
        worker = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(self._engine.get_function_address("worker"))
        dismiss = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._engine.get_function_address("dismiss"))
        threads = [threading.Thread(target=worker, args=(self.address, slot), daemon=True) for slot in range(1, slots)]
        self.close = weakref.finalize(self, _end, dismiss, self.address, threads, self._engine, self._memory)
        for thread in threads:
            thread.start()
        self.threads = tuple(thread.native_id for thread in threads)
        self._know_processors()

    def _know_processors(self) -> None:
        """Where threads may run, if the system tells and there are enough processors for all to have their own."""
        functions = [llvm.address_of_symbol(name) for name in ("sched_getcpu", "sched_setaffinity")]
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        if None in functions or len(allowed) < self.slots or max(allowed) >= PROCESSORS:
            return
        ctypes.c_int32.from_address(self.address + CALLER).value = -1
        places = np.zeros(PROCESSORS, np.uint8)
        places[list(allowed)] = 1
        ctypes.memmove(self.address + ALLOWED, np.packbits(places, bitorder="little").ctypes.data, SET_BYTES)
        for slot, thread in enumerate(self.threads, 1):
            ctypes.c_int32.from_address(self.address + COUNTERS + LINE * slot + THREAD).value = thread
        for offset, function in zip((SETAFFINITY, GETCPU), functions[::-1]):
            ctypes.c_void_p.from_address(self.address + offset).value = function

    def _prepare(self) -> None:
        """The executor struct, and the parts of the pool that are not zero."""
        members = ExecutorLayout(8 * ctypes.sizeof(ctypes.c_void_p))
        ctypes.c_uint32.from_address(self.address).value = members.whole
        ctypes.c_uint32.from_address(self.address + members.slots).value = self.slots
        ctypes.c_void_p.from_address(self.address + members.context).value = self.address
        for name in ("parallel_for", "together", "rest"):
            ctypes.c_void_p.from_address(self.address + getattr(members, name)).value = self._engine.get_function_address(name)
        ctypes.c_uint64.from_address(self.address + SLOTS).value = self.slots
        ctypes.c_uint64.from_address(self.address + TEAM).value = CLOSED
        for name, offset in (("pthread_mutex_init", MUTEX), ("pthread_cond_init", CONDITION)):
            start = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(llvm.address_of_symbol(name))
            start(self.address + offset, None)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(dismiss, address: int, threads: list[threading.Thread], engine: llvm.ExecutionEngine, memory: np.ndarray) -> None:
    """End the threads, then free their code; runs once, at the latest when Python ends. `memory` is kept until then."""
    dismiss(address)
    for thread in threads:
        thread.join()
    engine.close()


def _engine() -> llvm.ExecutionEngine:
    initialise()
    _compiler(llvm.parse_assembly("")).close()  # from here on LLVM knows the symbols of this process
    missing = [name for name in NEEDED if llvm.address_of_symbol(name) is None]
    if missing:
        raise Unsupported(f"this system has no POSIX threads ({', '.join(missing)})", hint="run with one thread")
    module = llvm.parse_assembly(PROGRAM.format(**FACTS))
    module.verify()
    engine = _compiler(module)
    engine.finalize_object()
    return engine


def _compiler(module: llvm.ModuleRef) -> llvm.ExecutionEngine:
    return llvm.create_mcjit_compiler(module, llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(opt=2))
