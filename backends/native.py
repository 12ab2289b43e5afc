"""Run a finished object file in this process, without a linker: LLVM's in-memory loader places it, ctypes calls it.

The context struct, the arena and the output buffers are made once; a call writes a few pointers and jumps.

    >>> with Loaded(artifact.object, artifact.interface) as model:
    ...     model.run({"x": x})["y"]
"""
import ctypes
import struct
from collections.abc import Mapping
from math import prod

import llvmlite.binding as llvm
import numpy as np
from numpy import ndarray

from edgec.backends.binding import Bound, bind, computed_shape, filled_after
from edgec.backends.external import require_linked
from edgec.backends.huge_pages import use_huge_pages
from edgec.backends.interface import BAD_ARENA, BAD_CONTEXT, BAD_DIMENSION, BAD_EXECUTOR, BAD_ISA, BAD_STATE, Interface, layout
from edgec.backends.machine import initialise
from edgec.backends.pool import Pool
from edgec.backends.target import Target
from edgec.errors import Internal
from edgec.types import DTYPES

COPIED_BYTES = 1 << 16      # smaller inputs are copied into an aligned buffer, which is quicker than asking numpy for an address
STATUS = {BAD_CONTEXT: "the context is too small", BAD_DIMENSION: "a dimension is out of range",
          BAD_ARENA: "the arena is missing or not aligned", BAD_ISA: "the object holds no code for this instruction set",
          BAD_EXECUTOR: "the executor is incomplete or has no slots", BAD_STATE: "the state is missing or not aligned"}


def same_architecture(target: Target) -> bool:
    """Whether `target` has the instruction set family of this process."""
    return target.triple.split("-")[0] == llvm.get_process_triple().split("-")[0]


def runs_here(target: Target) -> bool:
    """Whether this process can execute code for `target`: same architecture, every feature present."""
    if not same_architecture(target):
        return False
    host = llvm.get_host_cpu_features()
    return all(host.get(feature, False) for feature in target.features if not feature.startswith("-"))


def aligned_buffer(size: int, align: int = 64) -> np.ndarray:
    """`size` bytes starting at a multiple of `align`."""
    block = np.empty(size + align, np.uint8)
    start = -block.ctypes.data % align
    return block[start:start + size]


class Loaded:
    """A model in this process's memory. One call at a time: it owns one arena. Close it, or use it in a `with`, to free the memory."""

    def __init__(self, obj: bytes, interface: Interface, isa: int | None = None, *, threads: int = 1, pool: Pool | None = None):
        """Place `obj` in memory; `Internal` when it does not define the interface's run function. `isa` is the number of a level of an
        object that holds several, by default what the object's own init function finds. With `threads`, others than the caller's are
        started and wait for work until the model is closed; a `pool` given is used, not owned."""
        self.interface = interface
        self._grows = any(kept.after for kept in interface.states)
        self._plain = not (self._grows or interface.sizes) and interface.decoded_at is None     # a call is all there is to a run
        require_linked([symbol for symbol, _ in interface.functions])
        self._engine, self._address = place(obj, interface.run_symbol, closed=not interface.functions)
        use_huge_pages(self._address, len(obj))
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self._address)
        self._layout = layout(interface, ctypes.sizeof(ctypes.c_void_p) * 8)
        self._context = bytearray(self._layout.size)
        self._context_address = ctypes.addressof(ctypes.c_char.from_buffer(self._context))
        self._own_pool = Pool(threads) if threads > 1 and pool is None else None
        pool = pool or self._own_pool
        self._arena = aligned_buffer(interface.arena_for(pool.slots if pool else 1), interface.arena_align)
        self._pointer, self._dims = struct.Struct("P").pack_into, None
        self._ready: list[tuple[str, int, np.ndarray, tuple[int, ...], np.dtype, bool]] = []
        self._dtypes = [DTYPES[port.dtype].numpy for port in interface.inputs]
        struct.pack_into("I", self._context, 0, self._layout.size)
        self._pointer(self._context, self._layout.arena, self._arena.ctypes.data)
        self._state = aligned_buffer(interface.state_bytes, interface.arena_align)
        self.reset()
        if interface.state_bytes:
            self.set_state(self._state.ctypes.data)
        self._pointer(self._context, self._layout.executor, pool.address if pool else 0)
        if interface.levels:
            self._choose(isa)

    @property
    def isa(self) -> int:
        """The number of the level that runs."""
        return struct.unpack_from("I", self._context, self._layout.isa)[0]

    def _choose(self, isa: int | None):
        if isa is not None:
            struct.pack_into("I", self._context, self._layout.isa, isa)
            return
        init = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self._engine.get_function_address(self.interface.init_symbol))
        if status := init(self._context_address):
            raise Internal(f"{self.interface.init_symbol} returned {status}: {STATUS.get(status, 'unknown status')}")

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, as arrays of their own, for inputs by name. `TypeMismatch` for inputs that do not fit the interface.

        What the model keeps between calls stays in `state`; an array given for such an input takes its place before the call.
        """
        if not self._refill(inputs):
            self._rebind(bind(self.interface, inputs, self._filled))
        if status := self._function(self._context_address):
            raise Internal(f"{self.interface.run_symbol} returned {status}: {STATUS.get(status, 'unknown status')}")
        if not self._plain:
            return self._after()
        found = {}
        for name, copy in self._copies:  # quicker than a comprehension, which is a function of its own before Python 3.12
            found[name] = copy()
        return found

    def _after(self) -> dict[str, np.ndarray]:
        """What there is to do behind a call besides copying outputs: the outputs."""
        self._filled = filled_after(self.interface, self._dims) if self._grows else {}
        if self.interface.decoded_at is not None:  # later calls need not decode again
            self._pointer(self._context, self._layout.weights, self._arena.ctypes.data + self.interface.decoded_at)
        if self.interface.sizes:
            return self._sized()
        return {name: copy() for name, copy in self._copies}

    def _sized(self) -> dict[str, np.ndarray]:
        """The outputs cut to the sizes that the model has computed."""
        sizes = [struct.unpack_from("i", self._context, offset)[0] for offset in self._layout.sizes]
        shapes = [computed_shape(port, self.interface, self._dims, sizes) for port in self.interface.outputs]
        return {name: view.ravel()[:prod(shape)].reshape(shape).copy() for (name, view), shape in zip(self._outputs, shapes)}

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What is kept between calls, by the names of the inputs: views of the memory the model works on, as far as it is filled."""
        first = {kept.port.name: tuple(d if isinstance(d, int) else 0 for d in kept.before) for kept in self.interface.states}
        filled = first | self._filled
        return {name: room[tuple(map(slice, filled[name]))] if filled[name] else room for name, room in self._rooms().items()}

    def _rooms(self) -> dict[str, np.ndarray]:
        """The memory of what is kept."""
        return {kept.port.name: self._state[kept.offset:kept.offset + kept.bytes].view(DTYPES[kept.port.dtype].numpy)
                .reshape(kept.port.shape) for kept in self.interface.states}

    def reset(self) -> None:
        """Back to the first state: zeros, as few as there may be of what grows."""
        self._state[:] = 0
        self._filled: dict[str, tuple[int, ...]] = {}

    def call(self) -> int:
        """Run again on the inputs of the last `run` or `set_inputs` and return the status; for timing."""
        return self._function(self._context_address)

    def set_state(self, address: int) -> None:
        """What the context's `state` points at."""
        self._pointer(self._context, self._layout.state, address)

    def set_inputs(self, inputs: Mapping[str, np.ndarray]):
        """Everything before the call itself: check the inputs and put their addresses, or copies, where the model finds them."""
        if not self._refill(inputs):
            self._rebind(bind(self.interface, inputs, self._filled))

    def _refill(self, inputs: Mapping[str, np.ndarray]) -> bool:
        """The quick way, for inputs just like the last ones; False when anything differs, or nothing has been bound yet."""
        if len(inputs) != len(self._ready) or self._grows:
            return False
        for name, index, old, shape, dtype, copied in self._ready:
            new = inputs.get(name)
            if type(new) is not ndarray or new.shape != shape or new.dtype is not dtype and new.dtype != dtype:
                return False
            if copied:
                old[...] = new
            elif new is not old:
                if not (new.flags.c_contiguous and new.flags.aligned):
                    return False
                self._point(index, new)
        return self._dims is not None

    def _rebind(self, bound: Bound):
        """The thorough way: fresh buffers, all pointers, all dimensions."""
        self._ready = [None] * len(bound.inputs)
        for view, new in zip(self._rooms().values(), bound.states):
            if new is not None:
                view[...] = new
        for index, array in enumerate(bound.inputs):
            if array.nbytes <= COPIED_BYTES:
                copy = _aligned_array(array.shape, array.dtype)
                copy[...] = array
                array = copy
            self._point(index, array)
        for offset, value in zip(self._layout.dims, bound.dims):
            struct.pack_into("i", self._context, offset, value)
        if bound.dims != self._dims:
            self._outputs = [(port.name, _aligned_array(shape, DTYPES[port.dtype].numpy))
                             for port, shape in zip(self.interface.outputs, bound.output_shapes)]
            for offset, (_, view) in zip(self._layout.outputs, self._outputs):
                self._pointer(self._context, offset, view.ctypes.data)
            self._copies = [(name, view.copy) for name, view in self._outputs]
            self._dims = bound.dims

    def _point(self, index: int, array: np.ndarray):
        name, copied = self.interface.inputs[index].name, array.nbytes <= COPIED_BYTES
        self._ready[index] = (name, index, array, array.shape, array.dtype, copied)
        self._pointer(self._context, self._layout.inputs[index], array.ctypes.data)

    def close(self):
        """End the threads, free the code and the weights; the model cannot run any more."""
        self._function = None
        if self._own_pool:
            self._own_pool.close()
        self._engine.close()

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *_):
        self.close()


def place(obj: bytes, symbol: str, closed: bool = True) -> tuple[llvm.ExecutionEngine, int]:
    """An engine that holds the object in memory, and the address of `symbol`.

    llvmlite's memory manager (`use_lmm`) reserves one range for all sections, so 32-bit distances reach over any size of weights. It has no
    room for the stubs that calls of functions elsewhere need, so an object that is not `closed` does without.
    """
    initialise()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=closed)
    image = llvm.ObjectFileRef.from_data(obj)
    engine.add_object_file(image)
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    if not address:
        raise Internal(f"the object does not define {symbol}")
    return engine, address


def _aligned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return aligned_buffer(size).view(dtype).reshape(shape)
