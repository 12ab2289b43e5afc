"""Every problem of an ONNX model at once: the reader, with a stand-in for the results of each node that cannot be read.

What a broken node gives is taken from the types the file declares; where it declares none it is unknown, and what depends on it is left
out without a word, since nothing can be said about it.

    graph, problems = read_with_problems("model.onnx")      # the graph of what could be read, [TypeMismatch ..., Unsupported ...]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import GraphProto, NodeProto, ValueInfoProto

from edgec.errors import CompileError, Loc, each_problem
from edgec.graph import Graph, Value
from edgec.onnx.order import names_read
from edgec.onnx.reader import Reader, Scope, load
from edgec.onnx.tensor import dtype_of_code
from edgec.types import TensorType


@dataclass(frozen=True)
class Unknown:
    """The result of a node that could not be read, where the file does not tell its type."""


UNKNOWN = Unknown()


class ProblemReader(Reader):
    """A reader that notes the problem of a node and goes on with the next."""

    def __init__(self, *arguments: Any, **known: Any):
        super().__init__(*arguments, **known)
        self.problems: list[CompileError] = []
        self.declared: dict[str, ValueInfoProto] = {}
        self.values: list[Value] = []

    def unsupported(self, problems: list[CompileError]) -> None:
        self.problems += problems

    def model_graph(self, graph: GraphProto, *arguments: Any) -> Graph:
        """The graph of everything that could be read: its outputs are the values that no node uses."""
        self.declared = {info.name: info for info in (*graph.value_info, *graph.output)}
        try:
            whole = super().model_graph(graph, *arguments)
        except CompileError as error:
            self.note(error)
            whole = None
        return whole if not self.problems else self.partial(graph.name)

    def partial(self, name: str) -> Graph:
        used = {id(v) for value in self.values for v in value.op.operands}
        ends = [v for v in dict.fromkeys(self.values) if id(v) not in used]
        found = Graph((), tuple(ends), tuple(f"result{n}" for n in range(len(ends))), name or "graph")
        inputs = tuple(op.output for op in found.ops if type(op).__name__ == "Input")
        return Graph(inputs, found.outputs, found.output_names, found.name)

    def note(self, error: CompileError) -> None:
        """Keep the problems of an error, one for each node."""
        known = {_key(problem) for problem in self.problems}
        self.problems += [problem for problem in each_problem(error) if _key(problem) not in known]

    def check_outputs(self, graph: GraphProto, outputs: Sequence[Any]) -> None:
        if not any(isinstance(v, Unknown) for v in outputs):
            super().check_outputs(graph, outputs)

    def node(self, proto: NodeProto, scope: Scope, loc: Loc) -> Sequence[Any]:
        """The results of a node: stand-ins where it, or one it depends on, cannot be read."""
        if scope.parent is not None:  # inside a branch or loop: the node around it is the one that cannot be read
            return super().node(proto, scope, loc)
        if any(isinstance(scope.values.get(name), Unknown) for name in names_read(proto)):
            return self.stand_ins(proto, scope, loc)
        try:
            results = super().node(proto, scope, loc)
        except CompileError as error:
            self.note(error)
            return self.stand_ins(proto, scope, loc)
        self.values += [v for v in results if isinstance(v, Value) and not v.is_constant]
        return results

    def stand_ins(self, proto: NodeProto, scope: Scope, loc: Loc) -> list[Value | Unknown | None]:
        def stand_in(name: str) -> Value | Unknown:
            info = None if scope.prefix else self.declared.get(name)
            type_ = declared_type(info) if info is not None else None
            return UNKNOWN if type_ is None else self.subgraph_input(name, type_, loc)
        return [stand_in(name) if name else None for name in proto.output]


def _key(error: CompileError) -> tuple[Loc | None, str]:
    return error.loc, "" if error.loc is not None and error.loc.index is not None else error.message


def declared_type(info: ValueInfoProto) -> TensorType | None:
    """The type that a file declares for a tensor, None where it leaves anything open."""
    tensor = info.type.tensor_type
    if not tensor.HasField("shape") or any(not d.HasField("dim_value") or d.dim_value < 0 for d in tensor.shape.dim):
        return None
    try:
        return TensorType(dtype_of_code(tensor.elem_type, info.name, None), tuple(d.dim_value for d in tensor.shape.dim))
    except CompileError:
        return None


def read_with_problems(model: Any, shapes: Mapping[str, Any] | None = None, bind: Mapping[str, Any] | None = None,
                       **options: Any) -> tuple[Graph | None, list[CompileError]]:
    """The graph of what can be read (None: nothing) and all problems, for arguments as those of `edgec.onnx.reader.load`."""
    readers: list[ProblemReader] = []

    def reader(*given: Any, **known: Any) -> ProblemReader:
        readers.append(ProblemReader(*given, **known))
        return readers[0]
    try:
        graph = load(model, shapes, bind, reader=reader, **options)
    except CompileError as error:
        return None, list(each_problem(error))
    return (graph if graph.outputs else None), readers[0].problems
