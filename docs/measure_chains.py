"""How long models of many nodes take to compile: a chain of each family of operators, timed stage by stage.

    python docs/measure_chains.py                             # every family at 10,000 nodes; writes docs/compile_time.md
    python docs/measure_chains.py --only concat --only loop   # these rows anew
    python docs/measure_chains.py --nodes 1000 --only loop    # a shorter chain for the page; below 1,000 nodes on the screen only

Seconds are those of one processor, LLVM's included; a family whose seconds grow faster than its nodes shows in the last column.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgec.backends.target import find
from edgec.compiler import lower, optimise_graph
from edgec.emission import emit
from edgec.onnx.reader import load

SHAPE = (1, 4, 8, 8)
NODES, FEWEST = 10_000, 1_000
KEPT = Path(__file__).with_name("compile_time.json")


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
    "control flow": [lambda before, after: choice(before, after)],
    "convolution": [node("Conv", ["@", "kernel"], pads=[1, 1, 1, 1])],
    "depth to space": [node("DepthToSpace", ["@"], blocksize=2), node("SpaceToDepth", ["@"], blocksize=2)],
    "einsum": [node("Einsum", ["@", "matrix"], equation="abij,jk->abik")],
    "gather": [node("Gather", ["@", "turned"], axis=1)],
    "loop": [lambda before, after: repetition(before, after)],
    "matmul": [node("MatMul", ["@", "matrix"])],
    "normalization": [node("LayerNormalization", ["@", "row"], axis=-1)],
    "padding": [node("Pad", ["@", "pads"]), node("Slice", ["@", "first", "ninth", "axes"])],
    "pooling": [node("MaxPool", ["@"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
    "quantized": [node("QuantizeLinear", ["@", "scale", "zero"]), node("DequantizeLinear", ["@", "scale", "zero"]),
                  node("Conv", ["@", "kernel"], pads=[1, 1, 1, 1])],
    "recurrent": [node("Reshape", ["@", "sequence"]), node("LSTM", ["@", "gates", "recurrence"], hidden_size=8),
                  node("Reshape", ["@", "shape"])],
    "reduction": [node("ReduceSum", ["@", "axis"], keepdims=1), node("Add", ["@", "image"])],
    "resize": [node("Resize", ["@", "", "scales"], mode="nearest")],
    "scatter": [node("ScatterElements", ["@", "places", "image"], axis=1)],
    "shape": [node("Reshape", ["@", "flat"]), node("Reshape", ["@", "shape"])],
    "selection": [node("TopK", ["@", "eight"], axis=-1)],
    "softmax": [node("Softmax", ["@"], axis=-1)],
    "transpose": [node("Transpose", ["@"], perm=[0, 1, 3, 2]), node("Relu", ["@"])],
    "where": [node("Where", ["mask", "@", "one"])],
}


def choice(before: str, after: str) -> onnx.NodeProto:
    """An If on an input: the value before, or what Relu makes of it."""
    def branch(op: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(f"{after}.{op}", 1, SHAPE)
        return helper.make_graph([helper.make_node(op, [before], [result.name])], op, [], [result])
    return helper.make_node("If", ["condition"], [after], name=after, then_branch=branch("Relu"), else_branch=branch("Neg"))


def repetition(before: str, after: str) -> onnx.NodeProto:
    """A Loop of two trips that adds a half."""
    ports = [helper.make_tensor_value_info(f"{after}.{name}", code, shape) for name, code, shape in [
        ("n", 7, ()), ("go", 9, ()), ("state", 1, SHAPE), ("goes", 9, ()), ("next", 1, SHAPE)]]
    nodes = [helper.make_node("Identity", [f"{after}.go"], [f"{after}.goes"]),
             helper.make_node("Add", [f"{after}.state", "one"], [f"{after}.next"])]
    return helper.make_node("Loop", ["two", "", before], [after], name=after, body=helper.make_graph(nodes, "body", ports[:3], ports[3:]))


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
        "scale": np.float32(0.05), "zero": np.uint8(128), "two": np.array(2), "sequence": np.array([32, 1, 8]),
        "gates": generator.standard_normal((1, 32, 8)).astype(np.float32),
        "recurrence": generator.standard_normal((1, 32, 8)).astype(np.float32),
    }
    links = FAMILIES[family]
    made = [links[n % len(links)](f"v{n}", f"v{n + 1}") for n in range(nodes - nodes % len(links))]
    ports = [helper.make_tensor_value_info(name, 1, SHAPE) for name in ("v0", made[-1].output[0])]
    condition = [helper.make_tensor_value_info("condition", 9, ())] if family == "control flow" else []
    tensors = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(made, family, [*ports[:1], *condition], ports[1:], tensors)
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


def measured(family: str, nodes: int) -> dict[str, Any]:
    """A row of the table: seconds by stage, and the ratio to half as many nodes."""
    half, whole = (timed(family, n) for n in (nodes // 2, nodes))
    total = sum(seconds for _, seconds in whole)
    return {"family": family, "nodes": nodes, "seconds": total, "stages": dict(whole), "ratio": total / max(sum(s for _, s in half), 1e-3)}


def page(rows: Sequence[dict[str, Any]]) -> str:
    """docs/compile_time.md."""
    head = ("# Compile time of large models", "",
            "Written by `docs/measure_chains.py`: chains of one family of operators, each link a node or a few, compiled at -O1 for the",
            "machine at hand in one process, in seconds of one processor. Kernels that are alike are tiled and compiled once",
            "([kernels_alike.py](../edgec/kernels_alike.py)), and passes ask of each kernel, not of each pair of kernels.",
            "The ratio is to a chain of half as many nodes: 2 is linear; more or less than that is also the noise of a busy machine.", "")
    stages = list(rows[0]["stages"])
    table = [f"| chain of | nodes | {' | '.join(stages)} | all | ratio |", "|---" * (len(stages) + 4) + "|"]
    for row in rows:
        seconds = " | ".join(f"{row['stages'][stage]:.1f}" for stage in stages)
        table.append(f"| {row['family']} | {row['nodes']:,} | {seconds} | {row['seconds']:.1f} | {row['ratio']:.1f} |")
    return "\n".join([*head, *table, ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--only", choices=FAMILIES, action="append")
    arguments = parser.parse_args()
    known = {row["family"]: row for row in (json.loads(KEPT.read_text()) if KEPT.exists() else [])}
    for family in arguments.only or FAMILIES:
        row = known[family] = measured(family, arguments.nodes)
        shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["stages"].items())
        print(f"{family:14} {arguments.nodes} nodes: {row['seconds']:6.1f} s ({shown}); {row['ratio']:.1f} times half as many", flush=True)
        if arguments.nodes >= FEWEST:
            rows = [known[name] for name in FAMILIES if name in known]
            KEPT.write_text(json.dumps(rows, indent=1) + "\n")
            KEPT.with_suffix(".md").write_text(page(rows))


if __name__ == "__main__":
    main()
