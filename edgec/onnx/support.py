"""Which operators of a model edgec cannot read, found before anything is built and reported together.

    problems = unsupported_operators(model.graph, {"": 17}, functions, "model.onnx")      # [Unsupported, ModelError ...]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from onnx import FunctionProto, GraphProto, NodeProto

from edgec.errors import CompileError, Loc, ModelError, Unsupported
from edgec.onnx.functions import Key, domain_of, opsets_of
from edgec.onnx.node import NEWEST, schema_of
from edgec.onnx.order import live_nodes, subgraphs
from edgec.onnx.sequences import HANDLERS
from edgec.onnx.upgrade import can_upgrade
from edgec.ops import OPERATORS, Operators

_NO_MAPS = "it works on maps, and compiled code has tensors only"
_FOR_GPUS = "its tensors are ordered for the matrix units of one maker's graphics processors", "export the model in QDQ form"
_ORDERED = ("QuantizeWithOrder", "DequantizeWithOrder", "QOrderedMatMul", "QOrderedGelu", "QOrderedAttention", "QOrderedLayerNormalization",
            "QOrderedLongformerAttention")
# Operators that are refused for good: the reason, and what to do instead.
REFUSED: dict[tuple[str, str], tuple[str, str]] = {
    ("ai.onnx.ml", "ZipMap"): (_NO_MAPS, "cut it off and take the scores before it; skl2onnx leaves it out with options={'zipmap': False}"),
    ("ai.onnx.ml", "DictVectorizer"): (_NO_MAPS, "make the features a tensor before the model"),
    ("ai.onnx.ml", "CastMap"): (_NO_MAPS, "make the features a tensor before the model"),
    ("", "ImageDecoder"): ("it reads files of images, whose sizes nobody knows beforehand", "decode the image before the model"),
    ("ai.onnx.preview.training", "Gradient"): ("it is for training", "export the model for inference"),
    **{("com.microsoft", name): _FOR_GPUS for name in _ORDERED},
    ("com.microsoft", "QMoE"): ("it chooses among experts as it runs", "export the experts as products of their own (MatMulNBits)"),
    ("com.microsoft", "MatMulFpQ4"): ("its weights are packed in a way that is onnxruntime's own", "quantize the model to MatMulNBits"),
}


def unsupported_operators(graph: GraphProto, opsets: dict[str, int], functions: dict[Key, FunctionProto], file: str,
                          operators: Operators = OPERATORS) -> list[CompileError]:
    """One problem for each operator (of a domain and opset) that has neither a class nor a body, at the first node that uses it.

    Nodes that no output depends on do not count; the branches of an If are looked at when they are read, since one may never be taken.
    """
    found: dict[Any, CompileError] = {}
    entered: set[Key] = set()
    work: list[tuple[Sequence[NodeProto], Sequence[str], dict[str, int], str]] = [(graph.node, [o.name for o in graph.output], opsets, "")]
    while work:
        nodes, wanted, versions, prefix = work.pop()
        for n in live_nodes(nodes, wanted):
            node = nodes[n]
            key = (domain_of(node.domain), node.op_type, getattr(node, "overload", ""))
            loc = Loc(file, prefix + (node.name or next(filter(None, node.output), "")), node.op_type, n)
            if key not in functions:
                problem = operator_problem(key[0], node.op_type, versions, loc, operators)
                if problem is not None:
                    found.setdefault((key, versions.get(key[0])), problem)
            elif key not in entered:
                entered.add(key)
                function = functions[key]
                work.append((function.node, function.output, opsets_of(function.opset_import), f"{loc.node}/"))
            if node.op_type != "If":
                work.extend((g.node, [o.name for o in g.output], versions, f"{loc.node}/") for g in subgraphs(node))
    return list(found.values())


def operator_problem(domain: str, op: str, opsets: dict[str, int], loc: Loc,
                     operators: Operators = OPERATORS) -> CompileError | None:
    """Why an operator cannot be read, None where it can (as far as can be told without its operands)."""
    if domain not in opsets:
        return ModelError(f"operator {op} is of domain '{domain or 'ai.onnx'}', which the model does not import", loc=loc)
    read_elsewhere = domain == "" and (op in ("Constant", "If", *HANDLERS) or can_upgrade(op, opsets[""]))
    if (domain, op) in operators or read_elsewhere:
        return None
    schema = schema_of(domain, op, opsets[domain])
    if schema is None:
        return _unknown(domain, op, opsets[domain], loc, operators)
    if not (schema.has_function or schema.has_context_dependent_function):
        return _refused(domain, op, loc)
    missing = _missing_in_body(schema) if schema.has_function else []
    return Unsupported(f"operator {op} is not supported: its ONNX body needs {', '.join(missing)}", loc=loc) if missing else None


def _refused(domain: str, op: str, loc: Loc) -> CompileError:
    reason, hint = REFUSED.get((domain, op), ("", "see docs/operators.md for the list"))
    return Unsupported(f"operator {op} of domain '{domain or 'ai.onnx'}' is not supported{reason and ': '}{reason}", loc=loc, hint=hint)


def _missing_in_body(schema: Any) -> list[str]:
    """The operators of a schema's body that edgec lacks (a body of a body counts as there: reading it tells)."""
    return sorted({name for name in _names(schema.function_body.node) if ("", name) not in OPERATORS and name != "Constant"
                   and not _has_body(name)})


def _names(nodes: Sequence[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield node.op_type
        for graph in subgraphs(node):
            yield from _names(graph.node)


def _has_body(name: str) -> bool:
    schema = schema_of("", name, NEWEST)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _unknown(domain: str, op: str, version: int, loc: Loc, operators: Operators) -> CompileError:
    if (domain, op) in REFUSED:
        return _refused(domain, op, loc)
    near = get_close_matches(op, [name for place, name in operators if place == domain], 1)
    if domain == "":
        return ModelError(f"ONNX opset {version} has no operator {op}", loc=loc, hint=f"the nearest is {near[0]}" if near else "")
    other = "give it with --ops my_ops.py, or export the model with standard ONNX operators, or as one that brings the function along"
    return Unsupported(f"operator {op} of domain '{domain}' is not known", loc=loc, hint=f"the nearest is {near[0]}" if near else other)
