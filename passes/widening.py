"""What a target's rows say about reading 16-bit floats as f32.

    widened(find("aarch64"))       # {f16}: fcvtl converts a vector
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import meaning
from edgec.types import DTYPES, DType


def widened(target: Any) -> frozenset[DType]:
    """The types that an instruction of the target converts to f32 and back, whole vectors at once (scalars where there are no vectors)."""
    rows = [m for m in map(meaning, target.instructions if target else ()) if m.operation == "cast"]
    pairs = {(m.operands[0].dtype, m.result.dtype) for m in rows if m.result.lanes in (0, target.lanes(32))}
    return frozenset(DTYPES[a] for a, b in pairs if b == "f32" and ("f32", a) in pairs)
