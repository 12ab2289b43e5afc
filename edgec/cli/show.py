"""Show a model: a table of its layers, or its text in one of edgec's languages.

    edgec show model.onnx                        # layers with multiply-adds, parameters and bytes
    edgec show model.onnx --text graph           # as the compiler reads it
    edgec show model.onnx --text loops --target cortex-m4
"""

from __future__ import annotations

import argparse

from edgec.cli.model_arguments import add_compile_arguments, add_model_arguments, load_model
from edgec.cli.text_table import text_table

name, help = "show", "show the layers of a model, or its text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_compile_arguments(parser)
    parser.add_argument("--text", choices=["graph", "optimised", "kernels", "loops"],
                        help="print the graph, the graph after its passes, the kernels or the loops")


def run(arguments: argparse.Namespace) -> int:
    graph = load_model(arguments)
    if arguments.text == "graph":
        from edgec.graph_text import print_graph
        print(print_graph(graph)[0], end="")
    elif arguments.text:
        from edgec.backends.target import find
        from edgec.compiled_texts import compiled_texts
        texts = compiled_texts(graph, find(arguments.target), arguments.passes)
        print(getattr(texts, {"optimised": "graph"}.get(arguments.text, arguments.text))[0], end="")
    else:
        _table(graph)
    return 0


def _table(graph) -> None:
    from edgec.layer_facts import layer_facts
    layers = layer_facts(graph)
    head = ["#", "layer", "operator", "output", "MACs", "parameters", "weight bytes", "output bytes"]
    rows = [[n, layer.name, layer.operator, layer.output, layer.macs, layer.parameters, layer.weight_bytes, layer.output_bytes]
            for n, layer in enumerate(layers)]
    sums = [sum(getattr(layer, field) for layer in layers) for field in ("macs", "parameters", "weight_bytes", "output_bytes")]
    print(text_table(head, rows, ["", f"{len(layers)} layers", "", "", *sums]))
    for side, values in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        names = graph.output_names if side == "outputs" else [v.name for v in values]
        print(f"{side}: " + ", ".join(f"{n} {v.type}" for n, v in zip(names, values)))
