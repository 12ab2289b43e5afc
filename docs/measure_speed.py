"""Measures one model: its cold compile time, then all runtimes in turn, once for each number of threads.

    measure("tcn", Places(Path("zoo"), Path("files"), Path("tflite")), rounds=11)     # {"cold": 1.2, "threads": {"1": {...}, "2": {...}}}

`measure_integers` does it for integer networks: what `edgec quantize` makes of the model against what the peers' own tools make of it.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgec.bench.peers import checked_peer
from edgec.bench.result import BenchResult
from edgec.bench.run import bench
from edgec.bench.worker import Job, compiled_job
from edgec.compiler import compile
from edgec.drawn_inputs import drawn_inputs
from edgec.errors import CompileError
from edgec.onnx.reader import load
from edgec.quantize import quantize

PLAIN = ("onnxruntime", "openvino", "openvino-bf16")  # read the ONNX file itself
SAMPLES = 16     # inputs that scales are taken from
ALLOWED = 0.3    # of the f32 network's largest output, by which integers may differ: random weights are harder to round than trained ones
FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+")  # of absolute paths


@dataclass(frozen=True)
class Places:
    """Where the models are: ONNX files, NAME.param and NAME.mnn of docs/convert_peers.py, and NAME_f32.tflite."""

    zoo: Path
    files: Path | None = None
    tflite: Path | None = None

    def model(self, name: str) -> Path:
        """The ONNX file."""
        return self.zoo / f"{name}.onnx"

    def peers(self, name: str) -> list[str]:
        """The runtimes that are installed and have a file of this model, as `edgec bench --against` names them."""
        own = {"ncnn": (self.files, f"{name}.param"), "mnn": (self.files, f"{name}.mnn"), "litert": (self.tflite, f"{name}_f32.tflite")}
        found = [*PLAIN, *(f"{peer}={folder / file}" for peer, (folder, file) in own.items() if folder)]
        return [peer for peer in found if self._usable(peer, name)]

    def integer_peers(self, name: str) -> list[str]:
        """The same for the files that the runtimes' own tools have quantized."""
        own = {"onnxruntime": (self.files, f"{name}_ort_int8.onnx"), "openvino": (self.files, f"{name}_nncf_int8.xml"),
               "litert": (self.tflite, f"{name}_int8.tflite")}
        return [peer for kind, (folder, file) in own.items() if folder and self._usable(peer := f"{kind}={folder / file}", name)]

    def _usable(self, peer: str, name: str) -> bool:
        try:
            checked_peer(peer, str(self.model(name)))
        except CompileError:
            return False
        return True


def measure(name: str, places: Places, threads: Sequence[int], rounds: int, say: Callable[[str, BenchResult], None]) -> dict[str, Any]:
    """The facts of one model as plain data. `say` is told each result. Raises CompileError when edgec refuses the model."""
    with tempfile.TemporaryDirectory() as folder:
        cache, path = Path(folder), places.model(name)
        started = time.perf_counter()
        compile(path, cache=cache)
        facts: dict[str, Any] = {"cold": round(time.perf_counter() - started, 2), "threads": {}}
        for number in threads:
            result = bench(path, places.peers(name), rounds=rounds, threads=number, cache=cache, others=_bf16(path, cache, number))
            say(name, result)
            facts["threads"][str(number)] = plain(result)
    return facts


def measure_integers(name: str, places: Places, rounds: int, say: Callable[[str, BenchResult], None]) -> dict[str, Any]:
    """One thread, quantized with SAMPLES drawn inputs as the peers' files are; every runner, edgec too, is judged by the outputs of the f32
    network in onnxruntime. Raises CompileError when edgec refuses the model."""
    with tempfile.TemporaryDirectory() as folder:
        made, graph = Path(folder) / f"{name}.onnx", load(places.model(name))
        drawn = [drawn_inputs(graph, seed=n) for n in range(SAMPLES)]
        quantize(places.model(name), {key: np.stack([each[key] for each in drawn]) for key in drawn[0]}).save(made)
        inputs = drawn_inputs(graph)
        result = bench(made, places.integer_peers(name), rounds=rounds, inputs=inputs, allowed=ALLOWED, cache=Path(folder),
                       expected=real_outputs(places.model(name), inputs))
    say(f"{name}, integers", result)
    return plain(result)


def real_outputs(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What onnxruntime computes of a float network, by output name."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, dict(inputs))))


def _bf16(path: Path, cache: Path, threads: int) -> list[Job]:
    """edgec with 16-bit multiplications; none where the target has no such instructions, or compiling fails, which is told."""
    try:
        return [compiled_job("edgec-bf16", compile(path, cache=cache, precision="bf16"), threads)]
    except Exception as error:  # a long run goes on whatever happens to one of its many parts
        print(f"{path.stem}, bf16: {error}", flush=True)
        return []


def plain(result: BenchResult) -> dict[str, Any]:
    """A result for the JSON file, times with four digits; paths are left out, also of what runtimes say."""
    facts = result.facts() | {"model": Path(result.model).stem}
    return _short(facts)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, str):
        return FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, (list, tuple)) else value
