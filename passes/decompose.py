"""The pass decompose: operators without a `lower` of their own become the simpler ones they are made of.

Every operator left has index arithmetic, so `fuse` can compose it. Composite operators that edgec has no class for were already replaced by
the reader with the function bodies of their ONNX schemas.

    an operator with `decompose` and no `lower`  ->  op.decompose()
"""

from __future__ import annotations

from edgec.bodies import in_bodies
from edgec.decomposition import expand
from edgec.graph import Graph
from edgec.pipeline import graph_pass


@graph_pass("decompose", before={"fuse": "kernels are made of what operators lower to"})
def decompose(graph: Graph) -> Graph:
    """Operators that are compiled through simpler ones become these, and again, until none is left; in bodies of loops, too."""
    return in_bodies(expand(graph, lambda op: hasattr(op, "decompose") and not hasattr(op, "lower")), decompose)
