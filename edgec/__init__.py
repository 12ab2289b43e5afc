"""edgec: an ahead-of-time compiler from ONNX and TFLite models to native objects that need nothing else.

    import edgec
    graph = edgec.load("model.onnx", bind={"N": 1})
    results = edgec.interpret(graph, {"image": image})       # plain numpy: the meaning of the model
    artifact = edgec.compile(graph, "aarch64")               # object, header, facts

Names that need ONNX or LLVM are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from edgec.errors import CompileError
from edgec.graph import Graph
from edgec.pipeline import graph_pass
from edgec.rewrite import rewrite, rule

__version__ = "0.1.0"
__all__ = ["CompileError", "Graph", "Target", "compile", "graph_pass", "interpret", "load", "rewrite", "rule"]

_LATER = {"load": "edgec.model_file", "interpret": "edgec.interpreter", "compile": "edgec.compiler", "Target": "edgec.backends.target"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'edgec' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
