"""Calibration data: samples of the model's inputs, from arrays or files, checked before anything is computed.

A source is a mapping from input names to arrays, an .npz file of such, an .npy file or array for a model with one input, or a folder of
such files. The first axis of an array counts the samples; each sample has the input's own shape, or, since that mostly begins with a batch
of 1, the shape without the batch. Labels are one class number a sample.

    samples(graph, "calib.npz")      # [{"image": f32[1,3,224,224]}, ...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgec.array_file import read_numpy
from edgec.errors import CompileError, ModelError, raise_all
from edgec.graph import Graph, Value

Sample = Mapping[str, np.ndarray]


def samples(graph: Graph, source: Any) -> list[Sample]:
    """The samples of a source for the inputs of a graph; one ModelError tells everything that is wrong with them."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise ModelError(f"there is no calibration data at '{source}'", hint="give an .npz file, an .npy file or a folder of them")
        files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")) if path.is_dir() else [path]
        if not files:
            raise ModelError(f"the folder '{source}' holds no .npz or .npy files")
        return [sample for file in files for sample in _of_arrays(graph, _read(graph, file), str(file))]
    if isinstance(source, np.ndarray):
        source = _of_one_input(graph, source, "calibration data")
    if isinstance(source, Mapping):
        return _of_arrays(graph, source, "calibration data")
    single = [{n: np.asarray(a)[None] for n, a in each.items()} for each in source]
    return [sample for each in single for sample in _of_arrays(graph, each, "calibration data")]


def _read(graph: Graph, file: Path) -> Mapping[str, np.ndarray]:
    found = read_numpy(file, "calibration data from ")
    return _of_one_input(graph, found, str(file)) if isinstance(found, np.ndarray) else found


def _of_one_input(graph: Graph, array: np.ndarray, place: str) -> Mapping[str, np.ndarray]:
    names = [v.name for v in graph.inputs]
    if len(names) != 1:
        raise ModelError(f"{place}: one array for a model with {len(names)} inputs",
                         hint=f"save an .npz file with the arrays {', '.join(names)}")
    return {names[0]: array}


def _of_arrays(graph: Graph, arrays: Mapping[str, np.ndarray], place: str) -> list[Sample]:
    """The samples of arrays under the names of the inputs."""
    wanted = {v.name: v for v in graph.inputs}
    problems = [ModelError(f"{place}: there is no input '{n}'") for n in arrays if n not in wanted]
    problems += [ModelError(f"{place}: no array for input '{n}'") for n in wanted if n not in arrays]
    parts: dict[str, list[np.ndarray]] = {}
    for name in wanted.keys() & arrays.keys():
        try:
            parts[name] = _split(wanted[name], np.asarray(arrays[name]), place)
        except CompileError as error:
            problems.append(error)
    counts = {n: len(p) for n, p in parts.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{c} for '{n}'" for n, c in sorted(counts.items()))
        problems.append(ModelError(f"{place}: the inputs have different numbers of samples: {told}"))
    raise_all([_with_inputs(p, graph) for p in problems])
    return [dict(zip(parts, row)) for row in zip(*parts.values())]


def _with_inputs(error: CompileError, graph: Graph) -> CompileError:
    return ModelError(error.message, hint=error.hint or "the inputs are " + ", ".join(f"{v.name}: {v.type}" for v in graph.inputs))


def _split(value: Value, array: np.ndarray, place: str) -> list[np.ndarray]:
    """One array a sample, of the type of the input."""
    what = f"{place}: the array for input '{value.name}'"
    wanted = value.dtype.numpy
    if array.dtype != wanted and not (array.dtype.kind == "f" and value.dtype.is_float):
        raise ModelError(f"{what} has element type {array.dtype}, the input is {value.type}",
                         hint=f"prepare the samples as the model expects them, then .astype(np.{wanted.name})")
    if array.size == 0 or array.ndim == 0:
        raise ModelError(f"{what} is empty: its shape is {list(array.shape)}")
    parts = _parts(value, array, what)
    for number, part in enumerate(parts):
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = "NaN" if np.isnan(part).any() else "infinite values"
            raise ModelError(f"{what} has {bad} in sample {number}")
    return [np.ascontiguousarray(part, wanted) for part in parts]


def _parts(value: Value, array: np.ndarray, what: str) -> list[np.ndarray]:
    shape, rank = value.type.shape, value.type.rank
    if array.ndim == rank + 1 and _fits(array.shape[1:], shape):
        return list(array)
    batch = shape[0] if rank and isinstance(shape[0], int) else 1
    if array.ndim == rank and rank and _fits(array.shape[1:], shape[1:]) and len(array) >= batch:
        return [array[n:n + batch] for n in range(0, len(array) - batch + 1, batch)]
    each = "x".join(map(str, shape[1:] if batch == 1 and rank else shape)) or "scalar"
    raise ModelError(f"{what} has the shape {list(array.shape)}, which is not samples x {each} of {value.type}")


def _fits(sizes: Sequence[int], shape: Sequence[Any]) -> bool:
    return len(sizes) == len(shape) and all(d == s if isinstance(d, int) else d.lo <= s <= d.hi for s, d in zip(sizes, shape))


def labels(source: Any, count: int) -> np.ndarray:
    """i64[count]: the class of every sample, from an array or an .npy file; ModelError when they do not fit."""
    if isinstance(source, (str, Path)):
        source = read_numpy(source, "labels from ")
    if not isinstance(source, (np.ndarray, Sequence)):
        raise ModelError("the labels are no array", hint="save them with numpy.save(path, classes), one whole number a sample")
    found = np.asarray(source)
    if found.shape not in ((count,), (count, 1)) or found.dtype.kind not in "iu":
        raise ModelError(f"the labels are {found.dtype}{list(found.shape)}; {count} whole numbers are needed, the class of every sample")
    return found.reshape(count).astype(np.int64)
