"""The pass simplify: fewer and simpler operations that compute the same.

The rules stand in files by theme: algebra (identities of arithmetic), views (reshapes, transposes, casts), pad (borders that join a
window), affine (what folds into the weights of a convolution or matrix product), joins (concatenation and slicing). Prefixes of
concatenations are shared in a sweep of their own, since that rule undoes flattening where another reader keeps the inner one alive.

    transpose(transpose(x)), x * 1, batchnorm(conv(x, w))  ->  x, x, conv(x, w', b')
"""

from __future__ import annotations

from edgec.graph import Graph
from edgec.passes import rules_affine, rules_algebra, rules_joins, rules_pad, rules_views
from edgec.pipeline import graph_pass
from edgec.rewrite import rewrite

RULES = (*rules_algebra.RULES, *rules_views.RULES, *rules_pad.RULES, *rules_affine.RULES, *rules_joins.RULES)


@graph_pass("simplify", before={"fuse": "the fewer operations, the larger the kernels"})
def simplify(graph: Graph) -> Graph:
    """Identities vanish, views combine, padding and per-channel arithmetic fold into weights, concatenations flatten and share prefixes."""
    return rewrite(rewrite(graph, *RULES), rules_joins.share_prefix)
