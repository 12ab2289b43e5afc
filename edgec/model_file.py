"""The graph of a model file, whatever its format: ONNX, or TFLite by its suffix or the letters TFL3 in its head.

    load("model.tflite", requant="tflite");  load("model.onnx", bind={"N": 1})
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.errors import Loc, ModelError
from edgec.graph import Graph


def load(model: Any, shapes: Mapping[str, Sequence[Any]] | None = None, bind: Mapping[str, Any] | None = None,
         known: Mapping[str, np.ndarray] | None = None, requant: str = "",
         ops: Sequence[str] = ()) -> Graph:
    """The graph of a model file, of its bytes, or of an ONNX ModelProto.

    `shapes`, `bind` and `known` close what the file leaves open, see `edgec.onnx.reader.load`; `requant` is the arithmetic of quantized
    TFLite models, see `edgec.tflite.reader.load`; `ops` are files with operators of the user's. Raises CompileError.
    """
    if is_tflite(model):
        if ops:
            raise ModelError("--ops is for ONNX models", loc=_place(model), hint="TFLite operators have no domain")
        from edgec.tflite.reader import load as load_tflite
        return load_tflite(model, shapes, bind, known, requant)
    from edgec.onnx.reader import load as load_onnx
    return load_onnx(model, **onnx_options(model, shapes, bind, known, requant, ops))


def onnx_options(model: Any, shapes: Mapping[str, Sequence[Any]] | None = None, bind: Mapping[str, Any] | None = None,
                 known: Mapping[str, np.ndarray] | None = None, requant: str = "",
                 ops: Sequence[str] = ()) -> dict[str, Any]:
    """The arguments of `load` for an ONNX model as those of `edgec.onnx.reader.load`; ModelError for what is not for such a model."""
    if requant:
        raise ModelError(f"--requant {requant} is for .tflite models", loc=_place(model),
                         hint="an ONNX model says itself how it is rounded; leave the option out")
    from edgec.custom_operators import known_operators
    return {"shapes": shapes, "bind": bind, "known": known, "operators": known_operators(ops)}


def _place(model: Any) -> Loc:
    return Loc(os.fspath(model) if isinstance(model, (str, os.PathLike)) else "")


def is_tflite(model: Any) -> bool:
    """Whether a model is a TFLite file or the bytes of one."""
    if isinstance(model, bytes):
        return model[4:8] == b"TFL3"
    return isinstance(model, (str, os.PathLike)) and os.fspath(model).lower().endswith(".tflite")
