"""Operators on quantized tensors in TFLite's own arithmetic, by their names in the file.

    FIXED["CONV_2D"](node)         # integers in, integers out
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.graph import Value
from edgec.tflite.fixed import arithmetic, contractions, reductions, resize, softmax, tables
from edgec.tflite.node import Node

FIXED: dict[str, Callable[[Node], Value | tuple[Value, ...]]] = {
    **arithmetic.FIXED, **contractions.FIXED, **reductions.FIXED, **resize.FIXED, **softmax.FIXED, **tables.FIXED,
}
