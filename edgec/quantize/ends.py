"""A budget met without measuring every layer: 16-bit activations everywhere, and f32 from both ends of the network inwards, until it holds.

Sensitivities of every rounding cost two computations of each layer for each setting; for large networks that takes long. What loses most is
mostly known beforehand: activations of 8 bits, then the last layers, whose errors nothing averages, and the first. So mixtures are tried in
the order of cost: all 8 bits, all 16, then the first layer and the last 1, 2, 4, 6, 8, 12 ... layers in f32.

    for levels in mixtures(recipe): ...                         # edgec.quantize.mixed: quantize_within(..., search="ends")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from edgec.graph import Op
from edgec.quantize.budget import Row
from edgec.quantize.node_names import node_name
from edgec.quantize.recipe import BYTE, FLOAT, WIDE, Recipe
from edgec.quantize.run_values import multiply_adds

JUDGED = (8, 512)  # samples that mixtures are measured on: at least, and at most where the network is small
WORK = 2 * 10**9  # multiply-adds that measuring one mixture may take beyond the least
T = TypeVar("T")


def mixtures(recipe: Recipe) -> Iterator[dict[Op, int]]:
    """Levels of operators, from the cheapest mixture to f32 everywhere."""
    yield {}
    wide = dict.fromkeys(recipe.quantized, WIDE)
    yield wide
    layers, count = recipe.rounded, 1
    while count < len(layers):
        yield wide | dict.fromkeys((layers[0], *layers[-count:]), FLOAT)
        count += max(1, min(2, count)) if count < 8 else count // 2
    yield dict.fromkeys(recipe.quantized, FLOAT)


def judges(recipe: Recipe, samples: Sequence[T]) -> list[T]:
    """The samples to measure on, evenly drawn."""
    most = max(JUDGED[0], min(JUDGED[1], WORK // max(1, sum(map(multiply_adds, recipe.graph.ops)))))
    count = min(len(samples), most)
    return [samples[n * len(samples) // count] for n in range(count)]


def rows(recipe: Recipe, made: Recipe, levels: Mapping[Op, int]) -> list[Row]:
    """The table of a mixture, in the order of the data flow: no operator was measured alone."""
    left = set(made.quantized)
    return [Row(node_name(op), type(op).__name__, None, levels.get(op, BYTE) if op in left else FLOAT, multiply_adds(op))
            for op in recipe.quantized]
