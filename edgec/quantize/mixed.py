"""quantize_within(model, calib, max_drop=..., min_sqnr=...): post-training quantization that keeps to an accuracy budget.

    made = quantize_within("model.onnx", calib, min_sqnr=30.0)
    made.quantized.save("model_int8.onnx");  made.rows                # layer, SQNR, level, cost
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Graph
from edgec.quantize import calibration_data, ends
from edgec.quantize.budget import Budget, Quality, Row, Search, quality, rows, simulated, within
from edgec.quantize.calibrate import Progress
from edgec.quantize.post_training import Making, Quantized
from edgec.quantize.quality import Outputs
from edgec.quantize.recipe import BYTE, WIDE, Recipe
from edgec.quantize.run_values import multiply_adds, whole_runner
from edgec.quantize.sensitivity import sensitivities
from edgec.quantize.simulation import Simulation

SEARCHES = ("layers", "ends")
PROBES = (8, 64)  # samples that sensitivities are measured on: at least, and at most where the network is small
PROBING = 10**11  # multiply-adds that may be spent on it beyond the least
JUDGES = 512  # samples, at most, that the budget is measured on, unless there are labels


@dataclass(frozen=True, eq=False)
class Mixed:
    """A quantized network, its quality on the calibration samples, and the table of its layers."""

    quantized: Quantized
    quality: Quality
    rows: Sequence[Row]


def quantize_within(model: Any, calib: Any, labels: Any = None, *, max_drop: float | None = None, min_sqnr: float | None = None,
                    search: str = "layers", shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
                    progress: Progress = lambda what, done, total: None, **options: Any) -> Mixed:
    """Quantize within a budget: `max_drop` (0.005 is half a point) of the accuracy on the calibration samples by `labels`, or of equal
    decisions where there are none; `min_sqnr` dB at the outputs. `search` is "layers", by the sensitivity of each, or "ends", much faster
    in large networks (edgec.quantize.ends). The other parameters are those of `quantize`.

    The result always meets the budget on these samples: f32 is the last resort. ModelError for data or labels that do not fit.
    """
    budget = _budget(max_drop, min_sqnr)
    if search not in SEARCHES:
        raise ModelError(f"there is no search '{search}'", hint="there are " + ", ".join(SEARCHES))
    making = Making(model, calib, shapes, bind, progress, options)
    given = None if labels is None else calibration_data.labels(labels, len(making.samples))
    if search == "ends":
        return _from_the_ends(making, budget, given)
    samples = making.samples if given is not None else making.samples[:JUDGES]
    recipe, weights = making.recipe({}), making.weights(making.recipe({}))
    settings = 2 * len(recipe.observed) + len(recipe.rounded) + 1
    probes = _probes(making, samples, settings)
    rounds = len(probes) * settings + 4 * len(samples)
    simulation = Simulation(recipe, weights, rounds, making.options.threads, lambda done, total: progress("compiling probes", done, total))
    exact = _results(making.graph, samples, making.options.threads)
    grids = {bits: making.grids(_all_at(recipe, bits)) for bits in (BYTE, WIDE)}
    table = sensitivities(simulation, grids, probes, lambda done, total: progress("measuring sensitivities", done, total))
    measure = simulated(simulation, samples, exact, given, making.grids)
    search = Search(recipe, table, measure)
    return _settled(making, search, budget, samples, exact, given)


def _from_the_ends(making: Making, budget: Budget, labels: np.ndarray | None) -> Mixed:
    """The first of the mixtures of edgec.quantize.ends that keeps the budget."""
    recipe, options = making.recipe({}), list(ends.mixtures(making.recipe({})))
    numbers = ends.judges(recipe, range(len(making.samples)))
    samples, classes = [making.samples[n] for n in numbers], None if labels is None else labels[numbers]
    exact = _results(making.graph, samples, making.options.threads)
    for number, levels in enumerate(options):
        making.progress("trying mixtures", number, len(options))
        made = making.finished(levels)
        found = quality(exact, _results(made.graph, samples, making.options.threads), classes)
        if budget.holds(found) or not made.recipe.quantized:
            break
    making.progress("trying mixtures", len(options), len(options))
    return Mixed(made, found, ends.rows(recipe, made.recipe, levels))


def _probes(making: Making, samples: Sequence[Mapping[str, np.ndarray]], settings: int) -> list[Mapping[str, np.ndarray]]:
    """The samples to measure sensitivities on, evenly drawn; every layer is computed twice."""
    each = 2 * settings * sum(map(multiply_adds, making.graph.ops))
    count = min(len(samples), max(PROBES[0], min(PROBES[1], PROBING // max(1, each))))
    return [samples[n] for n in np.linspace(0, len(samples) - 1, count).astype(int)]


def _settled(making: Making, search: Search, budget: Budget, samples: Sequence[Mapping[str, np.ndarray]], exact: Outputs,
             labels: np.ndarray | None) -> Mixed:
    """The mixture within the budget, by the network that is handed out: what was simulated may differ in the last bits."""
    levels, found = within(search, budget, making.kept, search.measure(making.kept))
    while True:
        made = making.finished(levels)
        found = quality(exact, _results(made.graph, samples, making.options.threads), labels)
        if budget.holds(found) or not made.recipe.quantized:
            return Mixed(made, found, rows(search, made.recipe, levels))
        levels, _ = within(search, Budget(min_sqnr=found.sqnr + 1.0), levels, found)


def _budget(max_drop: float | None, min_sqnr: float | None) -> Budget:
    if max_drop is None and min_sqnr is None:
        raise ModelError("a budget needs max_drop or min_sqnr")
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise ModelError(f"a drop of {max_drop:g} is no share between 0 and 1")
    return Budget(max_drop, min_sqnr)


def _all_at(recipe: Recipe, bits: int) -> Recipe:
    """The same recipe with every grid at these bits."""
    return Recipe(recipe.graph, recipe.quantized, recipe.results, recipe.values, dict.fromkeys(recipe.bits, bits))


def _results(graph: Graph, samples: Sequence[Mapping[str, np.ndarray]], threads: int) -> list[list[np.ndarray]]:
    run = whole_runner(graph, len(samples), threads)
    return [list(run(sample).values()) for sample in samples]
