"""Nodes on strings whose results have sizes that only the run decides: StringSplit and StringNormalizer.

    StringNormalizer(x, stopwords)  ->  Gather(texts and an empty one, places of those that stay)
"""

from __future__ import annotations

from typing import Any

from edgec.graph import Value, constant
from edgec.onnx.node import Node
from edgec.onnx.parts import counted, limit, part, reshaped
from edgec.ops.known_values import known_value
from edgec.ops.sizes import Compacted, Prefix
from edgec.text_slots import as_text
from edgec.types import string


def split_texts(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """The pieces of a StringSplit, as many along the last axis as the bound says, cut to the most that a text has."""
    from edgec.ops.text import StringSplit
    x = node.input(0)
    if name not in sizes.given or known_value(x) is not None or x.dtype is not string or not x.type.max_size:
        return None
    (low, high), = sizes.bounds(name, 1, node.loc)
    attributes = {n: v for n, v in node.attributes.items() if n in ("delimiter", "maxsplit")}
    pieces, counts = StringSplit(x, **attributes, room=high).results
    number = sizes.sizes(reshaped(part("ReduceMax", counts, keepdims=0), [1]), ((low, high),), f"{name}_count")
    return [Prefix(pieces, number, axis=x.type.rank).output, counts]


def normalize_texts(node: Node, sizes: Any, name: str) -> list[Value] | None:
    """The texts that are no stop words, and one empty text where there is none of them."""
    from edgec.ops.text import StopWord
    x, stopwords = node.input(0), node.attributes.get("stopwords", ())
    rank = x.type.rank
    if not stopwords or known_value(x) is not None or x.dtype is not string or not x.type.is_static or not x.type.max_size \
            or rank not in (1, 2) or rank == 2 and x.shape[0] != 1:
        return None
    rest = {n: v for n, v in node.attributes.items() if n in ("case_change_action", "locale")}
    flat = reshaped(x, [-1])
    stops = StopWord(flat, stopwords=tuple(stopwords), is_case_sensitive=node.attributes.get("is_case_sensitive", 0)).output
    places, number = Compacted(part("Not", stops)).results
    found = sizes.count(node, part("Max", [number, 1]), limit(flat.shape[0]))
    texts = part("Concat", [part("StringNormalizer", flat, **rest), constant(as_text([""], (1,)))], axis=0)
    at = part("Where", part("Less", counted(found), number), Prefix(places, found).output, limit(flat.shape[0]))
    return [part("Gather", texts, at if rank == 1 else part("Unsqueeze", at, [0]))]
