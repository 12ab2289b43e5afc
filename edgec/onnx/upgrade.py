"""Older opsets become the newest one, node by node: each entry of UPGRADES is a small function from a node to its newer form.

An entry (operator, until) applies to nodes of an opset below `until`; entries of one operator apply in order. A function returns a Node, or
the results when one node becomes several (`emit(op, *inputs, **attributes)` builds an operation of the newest opset). What changed when is
in the ONNX changelog, https://github.com/onnx/onnx/blob/main/docs/Changelog.md.

    upgrade(Node("Squeeze", opset 11, (x,), {"axes": (0,)}))      # Node("Squeeze", newest, (x, constant [0]), {})
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.node import NEWEST, Node
from edgec.onnx.upgrade_first import FIRST_UPGRADES

Emit = Callable[..., Value]
Upgraded = Node | Sequence[Value]
Rule = Callable[[Node, Emit], Upgraded]


def upgrade(node: Node, emit: Emit) -> Upgraded:
    """The node in the newest opset, or the results that replace it."""
    while not node.domain and node.opset < NEWEST:
        steps = [(until, rule) for (op, until), rule in UPGRADES.items() if op == node.op and node.opset < until]
        if not steps:
            return replace(node, opset=NEWEST)
        until, rule = min(steps, key=lambda step: step[0])
        upgraded = rule(node, emit)
        if not isinstance(upgraded, Node):
            return upgraded
        node = replace(upgraded, opset=until)
    return node


def can_upgrade(op: str, opset: int) -> bool:
    """Whether an entry leads from this operator and opset to another form."""
    return any(name == op and opset < until for name, until in UPGRADES)


def _without(node: Node, *names: str) -> dict[str, Any]:
    return {n: v for n, v in node.attributes.items() if n not in names}


def _integers(node: Node, name: str) -> Value | None:
    """An integer attribute as a constant operand (None when the node does not have it)."""
    found = node.attributes.get(name)
    return None if found is None else constant(np.array(found, np.int64), f"{node.outputs[0]}.{name}", node.loc)


def _like(node: Node, name: str, default: float) -> Value:
    """A float attribute as a scalar operand of the first operand's type."""
    number = np.array(node.attributes.get(name, default), np.float64)
    return constant(number.astype(node.inputs[0].dtype.numpy), f"{node.outputs[0]}.{name}", node.loc)


def axes_to_operand(node: Node, emit: Emit) -> Node:
    """squeeze(x) axes=[0]  ->  squeeze(x, [0])"""
    return replace(node, inputs=(node.inputs[0], _integers(node, "axes")), attributes=_without(node, "axes"))


def split_to_operand(node: Node, emit: Emit) -> Node:
    """split(x) split=[2, 3]  ->  split(x, [2, 3])"""
    return replace(node, inputs=(node.inputs[0], _integers(node, "split")), attributes=_without(node, "split"))


def split_count(node: Node, emit: Emit) -> Node:
    """split(x) with n results  ->  split(x) num_outputs=n"""
    equal = node.input(1) is None
    return replace(node, attributes={**node.attributes, "num_outputs": len(node.outputs)}) if equal else node


def clip_to_operands(node: Node, emit: Emit) -> Node:
    """clip(x) min=0 max=6  ->  clip(x, 0, 6)"""
    bounds = (_like(node, n, 0) if n in node.attributes else None for n in ("min", "max"))
    return replace(node, inputs=(node.inputs[0], *bounds), attributes={})


def pad_to_operands(node: Node, emit: Emit) -> Node:
    """pad(x) pads=[0, 1] value=2  ->  pad(x, [0, 1], 2)"""
    inputs = (node.inputs[0], _integers(node, "pads"), _like(node, "value", 0.0))
    return replace(node, inputs=inputs, attributes=_without(node, "pads", "value"))


def slice_to_operands(node: Node, emit: Emit) -> Node:
    """slice(x) starts=[1] ends=[3] axes=[0]  ->  slice(x, [1], [3], [0])"""
    return replace(node, inputs=(node.inputs[0], *(_integers(node, n) for n in ("starts", "ends", "axes"))), attributes={})


def top_k_to_operand(node: Node, emit: Emit) -> Node:
    """topk(x) k=3  ->  topk(x, [3])"""
    count = constant(np.array([node.attributes.get("k", 0)], np.int64), f"{node.outputs[0]}.k", node.loc)
    return replace(node, inputs=(node.inputs[0], count), attributes=_without(node, "k"))


def dropout_ratio(node: Node, emit: Emit) -> Node:
    """dropout(x) ratio=0.5  ->  dropout(x, 0.5); without training it is the identity."""
    ratio = constant(np.array(node.attributes.get("ratio", 0.5), np.float32), f"{node.outputs[0]}.ratio", node.loc)
    return replace(node, inputs=(node.inputs[0], ratio), attributes=_without(node, "ratio"))


def flat_softmax(node: Node, emit: Emit) -> Upgraded:
    """softmax(x) axis=a over all axes from a on  ->  reshape(softmax(flatten(x) axis=a) axis=-1, shape(x))"""
    x, axis = node.inputs[0], node.attributes.get("axis", 1)
    rank = len(x.shape)
    if axis in (-1, rank - 1):
        return replace(node, attributes={"axis": -1})
    flat = emit(node.op, emit("Flatten", x, axis=axis), axis=-1)
    return (emit("Reshape", flat, emit("Shape", x)),)


def norm_without_spatial(node: Node, emit: Emit) -> Node:
    """batchnorm(x, ...) spatial=1  ->  batchnorm(x, ...)"""
    if node.attributes.get("spatial", 1) != 1:
        raise Unsupported("BatchNormalization with spatial=0 (statistics per element)", loc=node.loc)
    return replace(node, attributes=_without(node, "spatial"))


def norm_without_training(node: Node, emit: Emit) -> Node:
    """batchnorm(...) with the results of training  ->  refused, since edgec compiles inference"""
    if any(node.outputs[1:]):
        raise Unsupported("BatchNormalization in training mode", loc=node.loc, hint="export the model for inference")
    return replace(node, outputs=node.outputs[:1])


def group_norm_per_channel(node: Node, emit: Emit) -> Node:
    """groupnorm(x, scale[groups], bias[groups])  ->  groupnorm(x, scale[channels], bias[channels])"""
    groups, channels = node.attributes.get("num_groups", 1), node.inputs[0].shape[1]
    if not isinstance(channels, int) or groups <= 0 or channels % groups:
        raise Unsupported(f"GroupNormalization of {channels} channels in {groups} groups", loc=node.loc)

    def spread(value: Value) -> Value:
        column = emit("Reshape", value, _shape_constant(node, (groups, 1)))
        table = emit("Expand", column, _shape_constant(node, (groups, channels // groups)))
        return emit("Reshape", table, _shape_constant(node, (channels,)))
    return replace(node, inputs=(node.inputs[0], spread(node.inputs[1]), spread(node.inputs[2])))


def _shape_constant(node: Node, shape: tuple[int, ...]) -> Value:
    return constant(np.array(shape, np.int64), f"{node.outputs[0]}.shape", node.loc)


def scales_to_operand(node: Node, emit: Emit) -> Node:
    """upsample(x) scales=[1, 1, 2, 2]  ->  upsample(x, [1, 1, 2, 2])"""
    scales = constant(np.array(node.attributes["scales"], np.float32), f"{node.outputs[0]}.scales", node.loc)
    return replace(node, inputs=(node.inputs[0], scales), attributes=_without(node, "scales"))


def upsample_to_resize(node: Node, emit: Emit) -> Node:
    """upsample(x, scales)  ->  resize(x, scales) of opset 10"""
    return replace(node, op="Resize")


def resize_with_coordinates(node: Node, emit: Emit) -> Node:
    """resize(x, scales)  ->  resize(x, , scales) coordinate_transformation_mode=asymmetric nearest_mode=floor"""
    attributes = {**node.attributes, "coordinate_transformation_mode": "asymmetric"}
    if attributes.get("mode", "nearest") == "nearest":
        attributes["nearest_mode"] = "floor"
    return replace(node, inputs=(node.inputs[0], None, node.inputs[1]), attributes=attributes)


def resize_modes(node: Node, emit: Emit) -> Node:
    """resize(x, roi[0], scales[0], sizes)  ->  resize(x, , , sizes); opset 11 wrote empty tensors where 13 leaves operands out."""
    if node.attributes.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        raise Unsupported("Resize with coordinate_transformation_mode=tf_half_pixel_for_nn, which ONNX dropped in opset 13", loc=node.loc)
    crops = node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    kept = [v if n == 0 or v is None or v.shape != (0,) or (n == 1 and crops) else None for n, v in enumerate(node.inputs)]
    if not crops and len(kept) > 1:
        kept[1] = None
    return replace(node, inputs=tuple(kept))


def scatter_elements(node: Node, emit: Emit) -> Node:
    """scatter(x, i, u)  ->  scatterelements(x, i, u)"""
    return replace(node, op="ScatterElements")


def roi_align_coordinates(node: Node, emit: Emit) -> Node:
    """roialign(x, ...)  ->  roialign(x, ...) coordinate_transformation_mode=output_half_pixel"""
    return replace(node, attributes={**node.attributes, "coordinate_transformation_mode": "output_half_pixel"})


def grid_sample_modes(node: Node, emit: Emit) -> Node:
    """gridsample(x, g) mode=bilinear  ->  gridsample(x, g) mode=linear"""
    mode = node.attributes.get("mode", "bilinear")
    return replace(node, attributes={**node.attributes, "mode": {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)})


def dft_axis_to_operand(node: Node, emit: Emit) -> Node:
    """dft(x, n) axis=1  ->  dft(x, n, 1)"""
    axis = constant(np.array(node.attributes.get("axis", 1), np.int64), f"{node.outputs[0]}.axis", node.loc)
    return replace(node, inputs=(node.inputs[0], node.input(1), axis), attributes=_without(node, "axis"))


UPGRADES: dict[tuple[str, int], Rule] = {
    **FIRST_UPGRADES,
    ("BatchNormalization", 9): norm_without_spatial,
    ("BatchNormalization", 14): norm_without_training,
    ("Clip", 11): clip_to_operands,
    ("DFT", 20): dft_axis_to_operand,
    ("Dropout", 12): dropout_ratio,
    ("GridSample", 20): grid_sample_modes,
    ("GroupNormalization", 21): group_norm_per_channel,
    ("Hardmax", 13): flat_softmax,
    ("LogSoftmax", 13): flat_softmax,
    ("Pad", 11): pad_to_operands,
    ("Resize", 11): resize_with_coordinates,
    ("Resize", 13): resize_modes,
    ("RoiAlign", 16): roi_align_coordinates,
    ("Scatter", 11): scatter_elements,
    ("Slice", 10): slice_to_operands,
    ("Softmax", 13): flat_softmax,
    ("Split", 13): split_to_operand,
    ("Split", 18): split_count,
    ("Squeeze", 13): axes_to_operand,
    ("TopK", 10): top_k_to_operand,
    ("Unsqueeze", 13): axes_to_operand,
    ("Upsample", 9): scales_to_operand,
    ("Upsample", 10): upsample_to_resize,
    **{(f"Reduce{kind}", 18): axes_to_operand for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")},
    ("ReduceSum", 13): axes_to_operand,
}
