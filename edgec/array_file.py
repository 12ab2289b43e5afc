"""Named arrays in .npz files: what goes into a model and what comes out. The same arrays give the same bytes.

    read_arrays("in.npz")                       # {"image": array}
    Path("out.npz").write_bytes(arrays_bytes({"scores": scores}))

numpy has no name for bf16, so such arrays travel as their bits, in uint16; elements of 8 bits and less that it has no name for either as
theirs, one to a uint8. Strings are numpy's `<U`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgec.errors import ModelError
from edgec.types import SMALL, DType, bf16

DAMAGE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError)  # what reading a damaged file raises
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date a zip file can say


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file by name; ModelError when it cannot be read."""
    found = read_numpy(path)
    if isinstance(found, np.ndarray):
        raise ModelError(f"'{path}' holds one nameless array", hint="save it with numpy.savez(path, name=array)")
    return found


def read_numpy(path: str | Path, what: str = "") -> np.ndarray | dict[str, np.ndarray]:
    """The array of an .npy file, or those of an .npz file by name; ModelError when it cannot be read. Nothing of it is ever executed."""
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return file
        with file:
            return dict(file)
    except OSError as error:
        raise ModelError(f"cannot read {what}'{path}': {error.strerror or error}") from None
    except DAMAGE as error:
        reason = str(error).partition("\n")[0]
        # What numpy takes for a pickle is any file that is neither of its own formats; its advice to load that all the same is no help.
        reason = "it is neither numpy's format nor a zip file of such, or holds Python objects" if "pickle" in reason else reason
        hint = "save it with numpy.savez(path, name=array)"
        raise ModelError(f"cannot read {what}'{path}': {reason or 'it is empty'}", hint=hint) from None


def arrays_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, array in arrays.items():
            with file.open(zipfile.ZipInfo(name + ".npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _nameable(array), allow_pickle=False)
    return stream.getvalue()


def _nameable(array: np.ndarray) -> np.ndarray:
    """The array, as bits where numpy has no name for its type."""
    if array.dtype == bf16.numpy:
        return array.view(np.uint16)
    if array.dtype.kind == "O":
        return array.astype(str)
    return array.view(np.uint8) if any(array.dtype == t.numpy for t in SMALL) else np.asarray(array)


def as_type(array: np.ndarray, dtype: DType) -> np.ndarray:
    """An array read from a file as the element type that is wanted, where it is the bits of one; else unchanged."""
    if dtype in SMALL and array.dtype == np.uint8:
        return array.view(dtype.numpy)
    return array.view(bf16.numpy) if dtype is bf16 and array.dtype == np.uint16 else array
