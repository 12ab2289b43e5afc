"""A TFLite model in plain records, as `edgec.tflite.file` has checked them: nothing here knows of flatbuffers.

A tensor holds real numbers as integers where it has a scale: real = scale * (integer - zero point), with one pair for the whole tensor
or one for every place of an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.types import DType


@dataclass(frozen=True, eq=False)
class Quantization:
    """Scales (f32) and zero points (i64), one of each or as many as `axis` is long."""

    scale: np.ndarray
    zero: np.ndarray
    axis: int

    def same_as(self, other: Quantization) -> bool:
        """Whether both stand for the same real numbers."""
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero) \
            and (self.scale.size == 1 or self.axis == other.axis)


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of the file; `data` is there for constants, `quantization` for integers that stand for real numbers.

    `open_axes` are those whose size (1 in the shape, mostly) may be another when the model runs; a `variable` keeps its value between runs.
    """

    number: int
    name: str
    dtype: DType
    shape: tuple[int, ...]
    data: np.ndarray | None
    quantization: Quantization | None
    variable: bool = False
    open_axes: tuple[int, ...] = ()

    @property
    def scale(self) -> np.float32:
        """The scale of the whole tensor."""
        return self.quantization.scale[0]

    @property
    def zero(self) -> int:
        """The zero point of the whole tensor."""
        return int(self.quantization.zero[0])


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator: its builtin name (or `custom NAME`), option values by name, operands (None where left out) and results."""

    name: str
    options: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    index: int


@dataclass(frozen=True, eq=False)
class Model:
    """The main subgraph of a file."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    name: str
