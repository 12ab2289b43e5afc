"""What a peer is asked for when it loads a model, and what it gives back: two functions, of which only the second is timed.

    peer = Peer(prepare=dict, call=lambda arrays: {"y": session.run(...)})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Call = Callable[[Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Loading:
    """The file, the threads it may use, and the names its outputs get, in order."""

    path: str
    threads: int
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Peer:
    """A loaded model. `prepare` brings arrays into the layout and element type it wants, once; `call` sets inputs, runs, reads outputs."""

    prepare: Callable[[Arrays], Any]
    call: Call
    load_seconds: float = 0.0

    def loaded_in(self, seconds: float) -> Peer:
        """The same with its loading time."""
        return replace(self, load_seconds=seconds)
