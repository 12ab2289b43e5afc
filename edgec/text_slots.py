"""Text as compiled code keeps it: slots of as many bytes, UTF-8, zeros behind the end; a text that fills its slot has no zero.

    to_slots(np.array(["ab", "é"]), 4)       # u8 [[97, 98, 0, 0], [195, 169, 0, 0]]
    from_slots(slots)                        # array(["ab", "é"], dtype=object)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgec.errors import ModelError

DEFAULT_BYTES = 64  # of a slot of an input, where nobody says


def bytes_needed(words: np.ndarray) -> int:
    """The bytes of the longest text, at least 1."""
    return max([1, *(len(str(word).encode()) for word in np.asarray(words).ravel())])


def longest(arrays: Iterable[np.ndarray]) -> int:
    """The bytes of the longest text in any of some arrays, at least 1; those of numbers do not count."""
    return max([1, *(bytes_needed(a) for a in arrays if np.asarray(a).dtype.kind in "UO")])


def to_slots(words: np.ndarray, size: int, what: str = "a text") -> np.ndarray:
    """u8[..., size] of an array of str; ModelError for one that needs more bytes than a slot has, or holds a zero."""
    words = np.asarray(words)
    coded = [str(word).encode() for word in words.ravel()]
    longest = max([0, *map(len, coded)])
    if longest > size:
        raise ModelError(f"{what} needs {longest} bytes, a slot has {size}", hint=f"compile with --string-bytes {longest} or more")
    if any(0 in word for word in coded):
        raise ModelError(f"{what} holds a zero byte, which ends it")
    return np.frombuffer(b"".join(word.ljust(size, b"\0") for word in coded), np.uint8).reshape(*words.shape, size).copy()


def from_slots(slots: np.ndarray) -> np.ndarray:
    """The array of str in u8[..., size]; what is no UTF-8 (a slot cut in a letter) becomes U+FFFD."""
    rows = slots.reshape(-1, slots.shape[-1])
    return as_text([row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in rows], slots.shape[:-1])


def plain_text(array: np.ndarray) -> np.ndarray:
    """An array of numpy's fixed-width text as one of Python's str, any other as it is."""
    return array.astype(object) if array.dtype.kind == "U" else array


def ports_to_slots(ports: Iterable[Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs by name, those of an interface's ports that are text as slots of their bytes; slots stay as they are."""
    texts = {port.name: port.shape[-1] for port in ports if port.text}
    return {n: to_slots(a, texts[n], f"input '{n}'") if n in texts and np.asarray(a).dtype.kind in "UO" else a for n, a in arrays.items()}


def ports_from_slots(ports: Iterable[Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name, those of ports that are text as text."""
    words = {port.name for port in ports if port.text}
    return {n: from_slots(a).astype(str) if n in words else a for n, a in arrays.items()}


def as_text(words: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An object array of str of this shape."""
    found = np.empty(len(words), object)
    found[:] = words
    return found.reshape(shape)
