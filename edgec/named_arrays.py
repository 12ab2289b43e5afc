"""Values of a model as arrays under names: a tensor under its own, a sequence `x` as `x#0`, `x#1` ... with `x#len`, nothing where absent.

    spread(["x", "s"], [a, [b, c]])       # {"x": a, "s#0": b, "s#1": c, "s#len": array(2)}
    gathered(["s"], {"s#len": 1, "s#0": b})     # [[b]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.types import SMALL, DType


def spread(names: Sequence[str], values: Sequence[Any]) -> dict[str, np.ndarray]:
    """Arrays by name; a list is a sequence, None an absent optional."""
    found: dict[str, np.ndarray] = {}
    for name, value in zip(names, values):
        if isinstance(value, list):
            found[f"{name}#len"] = np.asarray(len(value), np.int64)
            found.update(spread([f"{name}#{n}" for n in range(len(value))], value))
        elif value is not None:
            found[name] = value
    return found


def gathered(names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """The values under these names: arrays, lists of arrays, None where there is nothing."""
    return [_value(name, arrays) for name in names]


def _value(name: str, arrays: Mapping[str, np.ndarray]) -> Any:
    if f"{name}#len" in arrays:
        return [_value(f"{name}#{n}", arrays) for n in range(int(arrays[f"{name}#len"]))]
    return arrays.get(name)


def as_bytes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Elements of small types as what compiled code keeps of them: their bit patterns, in u8."""
    small = {t.numpy for t in SMALL}
    return {name: a.view(np.uint8) if a.dtype in small else a for name, a in arrays.items()}


def from_bytes(arrays: Mapping[str, np.ndarray], dtypes: Mapping[str, DType]) -> dict[str, np.ndarray]:
    """The reverse: bit patterns as elements of the types they stand for, by name."""
    return {name: a.view(dtypes[name].numpy) if dtypes[name] in SMALL else a for name, a in arrays.items()}
