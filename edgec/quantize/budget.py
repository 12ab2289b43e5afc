"""Mixed precision by budget: the layers that cost most accuracy rise to 16-bit activations or f32 until the budget holds.

First every rounding is measured alone (sensitivity), then the operator with the most noise for its cost rises, again and again, until the
predicted noise fits; the mixture is measured, and if it misses, the aim is set higher. The last resort is f32 everywhere.

    found = within(search, Budget(min_sqnr=30.0));  found.levels, found.rows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.graph import Op, Value
from edgec.quantize.grid import Grid
from edgec.quantize.node_names import node_name
from edgec.quantize.quality import Outputs, agreement, decibels, drop, sqnr
from edgec.quantize.recipe import BYTE, FLOAT, WIDE, Recipe, data_of, recipe_of
from edgec.quantize.run_values import multiply_adds
from edgec.quantize.sensitivity import Sensitivities
from edgec.quantize.simulation import Simulation

STEP = 2.0  # dB by which the aim rises when a mixture misses the budget
COSTS = {BYTE: 1.0, WIDE: 2.0, FLOAT: 4.0}  # of a multiply-add, relative


@dataclass(frozen=True)
class Budget:
    """What is asked for: at most `max_drop` (0 to 1) of accuracy lost, at least `min_sqnr` dB at the outputs."""

    max_drop: float | None = None
    min_sqnr: float | None = None

    def holds(self, quality: Quality) -> bool:
        """Whether a network of this quality is good enough."""
        return (self.max_drop is None or quality.drop <= self.max_drop + 1e-9) and (self.min_sqnr is None or quality.sqnr >= self.min_sqnr)


@dataclass(frozen=True)
class Quality:
    """Measured against the float network: SQNR in dB, share of equal decisions, accuracy lost (without labels: decisions changed)."""

    sqnr: float
    agreement: float
    drop: float


def quality(exact: Outputs, ours: Outputs, labels: np.ndarray | None) -> Quality:
    """The quality of outputs beside the float network's."""
    return Quality(sqnr(exact, ours), agreement(exact, ours), drop(exact, ours, labels))


@dataclass(frozen=True)
class Row:
    """One operator in the table: the SQNR of the outputs if it alone were rounded to 8 bits (None: not measured), its level, multiply-adds
    (or elements)."""

    name: str
    operator: str
    sqnr: float | None
    level: int
    cost: int


@dataclass(frozen=True, eq=False)
class Search:
    """What is known before a search: the all-integer recipe, the noise of every rounding, and functions to measure a mixture."""

    recipe: Recipe
    table: Sensitivities
    measure: Callable[[Mapping[Op, int]], Quality]  # of levels


def within(search: Search, budget: Budget, fixed: Mapping[Op, int], start: Quality) -> tuple[dict[Op, int], Quality]:
    """Levels under which the budget holds, and the quality measured; `start` is that of the all-integer network."""
    levels, found, aim = dict(fixed), start, max(start.sqnr, budget.min_sqnr or start.sqnr + STEP)
    while not budget.holds(found):
        risen = raised(search, levels, aim)
        if risen is None:
            return {op: FLOAT for op in search.recipe.quantized} | dict(fixed), Quality(np.inf, 1.0, 0.0)
        levels, aim = risen, aim + STEP
        found = search.measure(levels)
    return levels, found


def raised(search: Search, levels: Mapping[Op, int], aim: float) -> dict[Op, int] | None:
    """The levels after raising operators until the predicted SQNR reaches `aim`; None where nothing is left to raise.

    At least one operator rises.
    """
    found, moved = dict(levels), False
    while not moved or predicted(search, found) < aim:
        gains = [(gain(search, op, found), op) for op in search.recipe.quantized if found.get(op, BYTE) < FLOAT]
        if not gains:
            return found if moved else None
        (_, level), op = max(gains, key=lambda each: each[0][0])
        found[op] = level
        moved = True
    return found


def predicted(search: Search, levels: Mapping[Op, int]) -> float:
    """The SQNR that the sensitivities promise for these levels."""
    return decibels(search.table.signal, search.table.noise(recipe_of(search.recipe.graph, levels)))


def gain(search: Search, op: Op, levels: Mapping[Op, int]) -> tuple[float, int]:
    """(noise saved for each unit of cost, the level) of the better way to raise an operator; the data of 16-bit operators stays integer."""
    level, cost = levels.get(op, BYTE), multiply_adds(op)
    leaders = {search.recipe.values[v] for v in data_of(op) if v in search.recipe.values}
    now = sum(search.table.values[v, level] for v in leaders)
    weights = search.table.layers.get(op, 0.0)
    ways = [((now + weights) / (cost * (COSTS[FLOAT] - COSTS[level])), FLOAT)]
    if level < WIDE:
        ways.append(((now - sum(search.table.values[v, WIDE] for v in leaders)) / (cost * (COSTS[WIDE] - COSTS[level])), WIDE))
    return max(ways)


def rows(search: Search, recipe: Recipe, levels: Mapping[Op, int]) -> list[Row]:
    """The table of a search that ended with this recipe, in the order of the data flow."""
    found, left = [], set(recipe.quantized)
    for op in search.recipe.quantized:
        leaders = {search.recipe.values[v] for v in data_of(op) if v in search.recipe.values}
        alone = sum(search.table.values[v, BYTE] for v in leaders) + search.table.layers.get(op, 0.0)
        level = levels.get(op, BYTE) if op in left else FLOAT
        found.append(Row(node_name(op), type(op).__name__, decibels(search.table.signal, alone), level, multiply_adds(op)))
    return found


def simulated(simulation: Simulation, samples: Sequence[Mapping[str, np.ndarray]], exact: Outputs, labels: np.ndarray | None,
              grids: Callable[[Recipe], Mapping[Value, Grid]]) -> Callable[[Mapping[Op, int]], Quality]:
    """A function that measures levels by simulation; `grids` makes the grids of a recipe."""
    def measure(levels: Mapping[Op, int]) -> Quality:
        recipe = recipe_of(simulation.recipe.graph, levels)
        made = grids(recipe)
        setting = simulation.switches({v: made[leader] for v, leader in recipe.values.items()}, recipe.rounded)
        return quality(exact, [simulation.outputs(s, setting) for s in samples], labels)
    return measure
