"""Every problem of a model file and a target: what cannot be read, and of the rest what cannot be compiled.

    artifact, problems = model_problems("model.onnx", {}, {"target": "cortex-m4"})      # None, [TypeMismatch ..., Unsupported ...]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.backends.artifact import Artifact
from edgec.compile_problems import compile_problems
from edgec.compiler import machine_for
from edgec.errors import CompileError, each_problem
from edgec.graph import Graph
from edgec.model_file import is_tflite, load, onnx_options
from edgec.onnx.problems import read_with_problems


def model_problems(model: Any, reading: Mapping[str, Any], compiling: Mapping[str, Any]) -> tuple[Artifact | None, list[CompileError]]:
    """The artifact where the model compiles, else None and all problems; the options are those of `load` and of `edgec.compile`."""
    target = machine_for(compiling["target"])
    graph, problems = _read(model, reading)
    if graph is None:
        return None, problems
    artifact, more = compile_problems(graph, target, **{k: v for k, v in compiling.items() if k != "target"})
    return (None if problems else artifact), problems + more


def _read(model: Any, reading: Mapping[str, Any]) -> tuple[Graph | None, list[CompileError]]:
    try:
        if is_tflite(model):
            return load(model, **reading), []
        return read_with_problems(model, **onnx_options(model, **reading))
    except CompileError as error:
        return None, list(each_problem(error))
