"""Numbers that a lowering computes ahead: a constant buffer to read from.

    read(table(np.arange(8)), (i,))
"""

from __future__ import annotations

import numpy as np

from edgec.kernel import Buffer
from edgec.types import dtype_of


def table(array: np.ndarray) -> Buffer:
    """A constant of the compiled model."""
    return Buffer("table", dtype_of(array.dtype), array.shape, "constant", data=np.ascontiguousarray(array))
