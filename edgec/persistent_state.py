"""What a model keeps between calls: an output that is the input of the next call, in memory of the caller's (`context.state`).

Commands and `compile` take the pairs, `with_state` checks them and writes them into the graph; passes/persistent.py lets both share memory.

    graph = with_state(graph, {"h": "hn", "c": "cn"})       # edgec compile model.onnx --state h=hn --state c=cn
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.errors import CompileError, ModelError, TypeMismatch, raise_all
from edgec.expr import Expr
from edgec.graph import Graph, Value
from edgec.types import TensorType


def with_state(graph: Graph, pairs: Mapping[str, str]) -> Graph:
    """The graph that keeps these inputs, each from the output named beside it; ModelError lists every pair that cannot be."""
    inputs = {v.name: v for v in graph.inputs}
    outputs = dict(zip(graph.output_names, graph.outputs))
    problems = [problem for pair in pairs.items() for problem in _problems(pair, inputs, outputs)]
    twice = {name for name in pairs.values() if list(pairs.values()).count(name) > 1}
    problems += [ModelError(f"two inputs are to be kept from output '{name}'", hint="give each its own") for name in sorted(twice)]
    raise_all(problems)
    return replace(graph, states=tuple(pairs.items())) if pairs else graph


def _problems(pair: tuple[str, str], inputs: Mapping[str, Value], outputs: Mapping[str, Value]) -> list[CompileError]:
    (name, output), missing = pair, []
    for given, known, what in ((name, inputs, "input"), (output, outputs, "output")):
        if given not in known:
            missing.append(ModelError(f"--state {name}={output}: there is no {what} '{given}'", hint=f"{what}s are {', '.join(known)}"))
    if missing:
        return missing
    a, b = inputs[name].type, outputs[output].type
    if a.dtype is b.dtype and growing_axis(a, b) is not None:
        return []
    if not a.is_static:
        several = [str(d) for d in a.shape if isinstance(d, Expr)]
        hint = f"bind it to a number: --bind {several[0]}=NUMBER; it may grow only where the output has more of it"
        if len(several) > 1:
            hint = f"one dimension may grow, up to the bound it is given; give the others a number: --bind {several[-1]}=NUMBER"
        return [ModelError(f"--state {name}={output}: the size of {name}: {a} is open, its output is {b}", hint=hint)]
    if a.dtype is not b.dtype or a.shape != b.shape:
        hint = "what is kept has one type and shape; a cache that grows is kept at its full size, written at a position (TensorScatter)"
        return [TypeMismatch(f"--state {name}={output}: the input is {a}, the output {b}", hint=hint)]
    return []


def growing_axis(before: TensorType, after: TensorType) -> int | None:
    """The axis along which what is kept grows with every call: its size is an open dimension, all others are fixed numbers."""
    if before.rank != after.rank:
        return None
    differing = [n for n, (a, b) in enumerate(zip(before.shape, after.shape)) if a is not b and a != b]
    if len(differing) != 1 or not isinstance(before.shape[differing[0]], Expr) or before.shape[differing[0]].op != "var":
        return None
    others = [d for n, d in enumerate(before.shape) if n != differing[0]]
    return differing[0] if all(isinstance(d, int) for d in others) else None


def first_states(graph: Graph) -> dict[str, np.ndarray]:
    """Zeros for every input that is kept, as few as there may be: what a model begins with unless it is told otherwise."""
    kept = dict(graph.states)
    return {v.name: np.zeros([d if isinstance(d, int) else d.lo for d in v.shape], v.dtype.numpy) for v in graph.inputs if v.name in kept}


def parse_state(text: str) -> tuple[str, str]:
    """`in=out` as (in, out)."""
    name, _, output = text.partition("=")
    if not name or not output:
        raise ModelError(f"--state {text}: write IN=OUT, an input and the output it is kept from")
    return name, output


def stepped(run: Any, graph: Graph, samples: list[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Outputs of call after call, each state fed back from the one before: `run(inputs)` gives outputs by name, states among both."""
    states, found = first_states(graph), []
    for sample in samples:
        outputs = run(states | dict(sample))
        states = {name: outputs[output] for name, output in graph.states}
        found.append(outputs)
    return found
