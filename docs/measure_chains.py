"""How long models of many nodes take to compile: a chain of each family of operators, timed stage by stage.

    python docs/measure_chains.py                             # every family at 10,000 nodes
    python docs/measure_chains.py --nodes 2000 --only concat

Seconds are those of a processor; a family whose seconds grow faster than its nodes shows in the last column, the ratio to half as many.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgec.backends.target import find
from edgec.compiler import emit, lower, optimise_graph
from edgec.onnx_reader import load

SHAPE = (1, 4, 8, 8)


def node(op: str, operands: list[str], **attributes: Any) -> Callable[[str, str], Any]:
    """What makes one link of a chain: the operator on the value before ("@") and constants."""
    return lambda before, after: helper.make_node(op, [before if o == "@" else o for o in operands], [after], name=after, **attributes)


# Each link keeps the shape SHAPE.
FAMILIES: dict[str, list[Callable[[str, str], Any]]] = {
    "activation": [node("Relu", ["@"]), node("Sigmoid", ["@"])],
    "arithmetic": [node("Add", ["@", "one"]), node("Mul", ["@", "channel"])],
    "branches": [node("Add", ["@", "@"]), node("Tanh", ["@"])],
    "cast": [node("Cast", ["@"], to=7), node("Cast", ["@"], to=1)],
    "concat": [node("Concat", ["@", "image"], axis=1), node("Slice", ["@", "four", "eight", "axis"])],
    "convolution": [node("Conv", ["@", "kernel"], pads=[1, 1, 1, 1])],
    "gather": [node("Gather", ["@", "turned"], axis=1)],
    "matmul": [node("MatMul", ["@", "matrix"])],
    "normalization": [node("LayerNormalization", ["@", "row"], axis=-1)],
    "padding": [node("Pad", ["@", "pads"]), node("Slice", ["@", "first", "ninth", "axes"])],
    "pooling": [node("MaxPool", ["@"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
    "reduction": [node("ReduceSum", ["@", "axis"], keepdims=1), node("Add", ["@", "image"])],
    "resize": [node("Resize", ["@", "", "scales"], mode="nearest")],
    "scatter": [node("ScatterElements", ["@", "places", "image"], axis=1)],
    "shape": [node("Reshape", ["@", "flat"]), node("Reshape", ["@", "shape"])],
    "softmax": [node("Softmax", ["@"], axis=-1)],
    "transpose": [node("Transpose", ["@"], perm=[0, 1, 3, 2]), node("Relu", ["@"])],
    "where": [node("Where", ["mask", "@", "one"])],
}


def chain(family: str, nodes: int) -> onnx.ModelProto:
    """A model of so many nodes, one after the other."""
    generator = np.random.default_rng(0)
    numbers = {
        "one": np.float32(0.5), "channel": np.ones((4, 1, 1), np.float32), "image": np.ones(SHAPE, np.float32),
        "kernel": generator.standard_normal((4, 4, 3, 3)).astype(np.float32) / 6, "matrix": np.eye(8, dtype=np.float32),
        "row": np.ones(8, np.float32), "four": np.array([4]), "eight": np.array([8]), "axis": np.array([1]), "axes": np.array([2, 3]),
        "turned": np.array([3, 2, 1, 0]), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "first": np.array([1, 1]), "ninth": np.array([9, 9]),
        "scales": np.ones(4, np.float32), "places": np.broadcast_to(np.arange(4).reshape(4, 1, 1), SHAPE).copy(),
        "flat": np.array([4, 64]), "shape": np.array(SHAPE), "mask": generator.random(SHAPE) < 0.5,
    }
    links = FAMILIES[family]
    made = [links[n % len(links)](f"v{n}", f"v{n + 1}") for n in range(nodes - nodes % len(links))]
    ports = [helper.make_tensor_value_info(name, 1, SHAPE) for name in ("v0", made[-1].output[0])]
    tensors = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(made, family, ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def timed(family: str, nodes: int) -> list[tuple[str, float]]:
    """(stage, processor seconds) of compiling a chain at -O1 in this process."""
    target, found, start = find("native"), [], time.process_time()
    model: Any = chain(family, nodes)
    stages = {"read": load, "graph passes": lambda g: optimise_graph(g, target), "program passes": lambda g: lower(g, target),
              "code": lambda p: emit(p, target, "chain", "1", workers=0)}
    for name, stage in stages.items():
        start = time.process_time()
        model = stage(model)
        found.append((name, time.process_time() - start))
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--only", choices=FAMILIES, action="append")
    arguments = parser.parse_args()
    for family in arguments.only or FAMILIES:
        half, whole = (timed(family, n) for n in (arguments.nodes // 2, arguments.nodes))
        total = sum(s for _, s in whole)
        shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in whole)
        ratio = total / max(sum(s for _, s in half), 1e-3)
        print(f"{family:14} {arguments.nodes} nodes: {total:6.1f} s ({shown}); {ratio:.1f} times half as many", flush=True)


if __name__ == "__main__":
    main()
