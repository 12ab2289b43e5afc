"""What TFLite operators mean, one module a family. `REAL` are those on real numbers, `MOVES` those that only move elements and so may
work on integers of one scale as they are. Each takes a Node and gives the value of its result, or a tuple of values.

    REAL["RELU"](node)
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.graph import Value
from edgec.tflite.converters import activations, arithmetic, contractions, indexing, joining, pools, reductions, shapes
from edgec.tflite.node import Node

Converter = Callable[[Node], Value | tuple[Value, ...]]
REAL: dict[str, Converter] = {**arithmetic.REAL, **activations.REAL, **contractions.REAL, **pools.REAL, **reductions.REAL, **shapes.REAL}
MOVES: dict[str, Converter] = {**shapes.MOVES, **joining.MOVES, **indexing.MOVES, **pools.MOVES, **reductions.MOVES}
