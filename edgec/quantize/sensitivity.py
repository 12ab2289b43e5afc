"""How much noise each rounding alone brings to the outputs: every grid at 8 and 16 bits, the weights of every layer.

To first order the noises of all roundings add up, so the table predicts any mixture of precisions; the mixture is then measured.

    table = sensitivities(simulation, grids8, grids16, samples)
    table.noise(recipe)                                              # predicted, sum of squares
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgec.graph import Op, Value
from edgec.quantize.grid import Grid
from edgec.quantize.quality import noise, power
from edgec.quantize.recipe import BYTE, WIDE, Recipe
from edgec.quantize.simulation import Simulation


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Sums of squared errors of the outputs: by (value whose range makes the grid, bits) and by layer; `signal` the sum of squares."""

    values: Mapping[tuple[Value, int], float]
    layers: Mapping[Op, float]
    signal: float

    def noise(self, recipe: Recipe) -> float:
        """What a recipe's roundings bring together."""
        values = sum(self.values.get((leader, recipe.bits[leader]), 0.0) for leader in recipe.observed)
        return values + sum(self.layers[op] for op in recipe.rounded)


def sensitivities(simulation: Simulation, grids: Mapping[int, Mapping[Value, Grid]], samples: Sequence[Mapping[str, np.ndarray]],
                  progress: Callable[[int, int], None] = lambda done, total: None) -> Sensitivities:
    """One rounding at a time on the samples; `grids` by bits."""
    recipe = simulation.recipe
    groups: dict[Value, list[Value]] = {}
    for value, leader in recipe.values.items():
        groups.setdefault(leader, []).append(value)
    settings = {(leader, bits): simulation.switches({v: grids[bits][leader] for v in group}, ())
                for leader, group in groups.items() for bits in (BYTE, WIDE)}
    weights = {op: simulation.switches({}, [op]) for op in recipe.rounded}
    exact = [simulation.outputs(s, simulation.switches({}, ())) for s in samples]
    total, found = len(settings) + len(weights), []
    for number, switches in enumerate([*settings.values(), *weights.values()]):
        progress(number, total)
        found.append(noise(exact, [simulation.outputs(s, switches) for s in samples]))
    progress(total, total)
    return Sensitivities(dict(zip(settings, found)), dict(zip(weights, found[len(settings):])), power(exact))
