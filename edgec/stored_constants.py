"""What the constants of a compiled model are stored as: numbers and bytes by encoding, for model.json and `edgec compile`.

    stored_constants(buffers)      # [{"encoding": "4 bits", "values": 98304, "bytes": 49152}, {"encoding": "f32", ...}]

Planes of a table in few bits are bytes to machine code; the pass bits names them by their width.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from edgec.kernel import Buffer

PLANE = re.compile(r"\.(\d)bits\.packed\d+$")


def stored_constants(buffers: Iterable[Buffer]) -> list[dict[str, Any]]:
    """Numbers and bytes of constants by encoding, the largest first; equal contents count once."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    seen: set[bytes] = set()
    for buffer in buffers:
        data = np.ascontiguousarray(buffer.data)
        if data.tobytes() in seen:
            continue
        seen.add(data.tobytes())
        plane = PLANE.search(buffer.name)
        each = found[f"{plane[1]} bit" + "s" * (plane[1] != "1") if plane else buffer.dtype.name]
        each[0] += data.size * 8 // int(plane[1]) if plane else data.size
        each[1] += data.nbytes
    rows = [{"encoding": name, "values": values, "bytes": size} for name, (values, size) in found.items()]
    return sorted(rows, key=lambda row: -row["bytes"])
