"""What docs/judge_models.py runs a model on: samples of ../shared/data where the model has some there, else drawn ones.

    chosen(Path("../shared/models/fsdd_tcn_dyn.onnx"), graph, session)     # Chosen("real", [sample of 1, of 1, of 2, of 2])

Labelled data, pictures and recordings are prepared by docs/quantization_data.py. Models with an open batch get some samples at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from quantization_data import DATA, MODELS, SHARED, Sample, task

BATCHES = (1, 1, 2, 2)  # runs of a model with an open batch, in samples
STATIC = 6  # runs of one without
RANGE = "1..3"  # an open dimension
SIZES = (1, 2)  # at which it is run on drawn samples
WITHOUT_DATA = ("mlperf_ad_autoencoder",)  # those for which quantization_data.py draws


@dataclass(frozen=True, eq=False)
class Chosen:
    """Samples, and whether they are `real` or `drawn`."""

    kind: str
    samples: list[Sample]


def chosen(path: Path, graph: Any, session: Any) -> Chosen:
    """The samples of a model: a graph with open dimensions as RANGE gets more than one size of them."""
    rows = real(path, session)
    if not rows:
        return Chosen("drawn", drawn(graph, session))
    kind = "drawn" if name_of(path) in WITHOUT_DATA else "real"
    return Chosen(kind, batches(rows) if graph.symbols else evenly(rows, STATIC))


def name_of(path: Path) -> str:
    """The name under which ../shared/CATALOG.md has the data of a model."""
    return path.stem if path.stem.startswith("skl_") else path.stem.removesuffix("_dyn")


def real(path: Path, session: Any) -> list[Sample]:
    """Samples of one row from ../shared, none for other models."""
    name = name_of(path)
    if path.resolve().parent != (SHARED / "models").resolve():
        return []
    if name.startswith("skl_"):
        rows = np.load(DATA / f"sklearn_{name.split('_')[1]}_split.npz")["eval_x"].astype(np.float32)
        return [{"X": row[None]} for row in rows]
    return task(name, lambda sample: session.run(None, sample)).inputs if name in MODELS else []


def evenly(rows: Sequence[Sample], count: int) -> list[Sample]:
    """So many of them, from first to last."""
    return [rows[n] for n in np.linspace(0, len(rows) - 1, count).astype(int)]


def batches(rows: Sequence[Sample]) -> list[Sample]:
    """Samples of BATCHES rows each."""
    left = iter(evenly(rows, sum(BATCHES)))
    groups = [[next(left) for _ in range(size)] for size in BATCHES]
    return [{name: np.concatenate([row[name] for row in group]) for name in group[0]} for group in groups]


def shapes_of(session: Any, size: Any) -> dict[str, tuple[Any, ...]]:
    """The shapes of the inputs, `size` in place of what the model leaves open."""
    return {i.name: tuple(d if isinstance(d, int) else size for d in i.shape) for i in session.get_inputs()}


def drawn(graph: Any, session: Any) -> list[Sample]:
    """Drawn inputs, at each of SIZES where a dimension is open."""
    from edgec.drawn_inputs import drawn_inputs
    found = []
    for size in SIZES if graph.symbols else SIZES[:1]:
        values = drawn_inputs(graph, seed=size)
        found.append({name: values[name][tuple(slice(n) for n in shape)] for name, shape in shapes_of(session, size).items()})
    return found
