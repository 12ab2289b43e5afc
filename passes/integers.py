"""The pass integers: networks in QDQ form compute with integers.

What contributed operators mean is written out. Between a DequantizeLinear and a QuantizeLinear a model says real numbers and means
integers: scales move past what only moves elements (rules_scales), then products of quantized tensors become those of integers
(rules_products), first those whose result is quantized again, since they define the bits, then all others; sums and means as well
(rules_means), and functions of one tensor of bytes become tables (rules_tables). What is left between the two is computed in f32, in the
kernels that read and write bytes. Bodies of loops are graphs like any other.

    quantizelinear(conv(dequantizelinear(x), dequantizelinear(w)))  ->  qlinearconv(x, w)
"""

from __future__ import annotations

from edgec.bodies import in_bodies
from edgec.decomposition import expand
from edgec.graph import Graph
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.quantized_contrib import Contributed
from edgec.passes import rules_products, rules_scales, rules_tables
from edgec.passes.fold_constants import fold_constants
from edgec.pipeline import graph_pass
from edgec.rewrite import rewrite


@graph_pass("integers", before={"simplify": "its rules compute with real numbers what are integers with a scale",
                                "storage": "4-bit weights of integer products are known by their type"})
def integers(graph: Graph) -> Graph:
    """Products of dequantized tensors become products of integers, and scales move to where they cancel."""
    graph = in_bodies(graph, integers)
    if not _is_quantized(graph):
        return graph
    graph = expand(graph, lambda op: isinstance(op, Contributed))
    graph = rewrite(graph, *rules_scales.RULES)
    graph = rewrite(graph, *rules_scales.RULES, *rules_products.REQUANTIZING, *rules_tables.RULES)
    return rewrite(graph, *rules_scales.RULES, *rules_products.INTEGER)


def integer_form(graph: Graph) -> Graph:
    """What a model in QDQ form means, as the interpreter is to run it: the integer operators that are compiled, nothing else changed."""
    return integers(fold_constants(graph, keep_dequantize=True)) if _is_quantized(graph) else graph


def _is_quantized(graph: Graph) -> bool:
    return any(isinstance(op, (DequantizeLinear, Contributed)) for op in graph.ops)
