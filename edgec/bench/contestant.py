"""What a worker's process holds once it has loaded its model: functions to time, by name.

    peer("onnxruntime", "model.onnx", 1, ("y",)).calls      # {"run": ...}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.bench.peer_settings import Arrays
from edgec.text_slots import ports_from_slots, ports_to_slots

Timed = Callable[[], Any]


@dataclass(frozen=True)
class Contestant:
    """`start` gets the arrays once, before anything is timed, and gives the functions to time; "run" returns the outputs."""

    load_seconds: float
    start: Callable[[Arrays], Mapping[str, Timed]]


def peer(text: str, model: str, threads: int, outputs: tuple[str, ...]) -> Contestant:
    """Another runtime, see `load_peer`."""
    from edgec.bench.peers import load_peer

    loaded = load_peer(text, model, threads, outputs)

    def start(arrays: Arrays) -> Mapping[str, Timed]:
        given = loaded.prepare(arrays)
        return {"run": lambda: loaded.call(given)}
    return Contestant(loaded.load_seconds, start)


def compiled(obj: bytes, interface: Any, threads: int, bare: bool) -> Contestant:
    """A compiled model through its Python binding, and with `bare` as the C function alone, which finds the inputs of the last run."""
    from edgec.backends.native import Loaded

    started = time.perf_counter()
    loaded = Loaded(obj, interface, threads=threads)
    seconds = time.perf_counter() - started

    kept = {each.port.name: each.output for each in interface.states}
    grows = any(each.after for each in interface.states)
    texts = any(port.text for port in interface.outputs)

    def first(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return loaded.run(arrays) | {kept[name]: array.copy() for name, array in loaded.state.items()}

    def start(arrays: Mapping[str, np.ndarray]) -> Mapping[str, Timed]:
        begun = iter([first] if kept else [])  # later calls go on with the state that the one before has left
        arrays = ports_to_slots(interface.inputs, arrays)
        inputs = {name: array for name, array in arrays.items() if grows or name not in kept}  # what grows is as long in every call

        def run() -> Mapping[str, np.ndarray]:
            found = next((f(arrays) for f in begun), None) or loaded.run(inputs)
            return ports_from_slots(interface.outputs, found) if texts else found

        timed = run if kept or texts else lambda: loaded.run(inputs)     # as peers are called
        return {"run": timed} | ({"call": loaded.call} if bare else {})
    return Contestant(seconds, start)
