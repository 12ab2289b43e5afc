"""Graphs written as ONNX models: they mean what they did (onnxruntime), and are read back as the same text."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgec import load
from edgec.errors import CompileError, Unsupported
from edgec.graph import Graph, constant, graph_input
from edgec.graph_text import print_graph
from edgec.onnx.suite import cases
from edgec.onnx.writer import model_proto
from edgec.ops.activation import Relu
from edgec.ops.arithmetic import Add
from edgec.ops.quantization import QuantizeLinear, Ratio
from edgec.pipeline import parse_pipeline, registered, run_pipeline
from edgec.types import TensorType, f32

ROOT = Path(__file__).parents[2]
MODELS = sorted((ROOT.parent / "shared" / "models").glob("*.onnx")) + sorted((ROOT / "testdata" / "digits").glob("*.onnx"))
MODELS = [p for p in MODELS if not p.name.startswith("skl_")]  # trees and scalers, which edgec does not read
RENAMED = ("test_constant", "test_if", "test_optional", "test_split_to_sequence", "test_identity_opt")  # other names, or no nodes at all
X = graph_input("x", TensorType(f32, (2, 3)))


def outputs(model, names, arrays):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options).run(names, arrays)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_written_models_mean_the_same(path):
    graph = load(path, bind={"N": "1..8"} if path.stem.endswith("_dyn") else None)
    simpler = run_pipeline(graph, parse_pipeline("fold-constants,simplify", registered()))
    generator = np.random.default_rng(0)
    arrays = {v.name: generator.uniform(-1, 1, [3 if not isinstance(d, int) else d for d in v.shape]).astype(v.dtype.numpy)
              for v in graph.inputs}
    names = list(graph.output_names)
    expected = outputs(str(path), names, arrays)
    for form in (graph, simpler):
        model = model_proto(form)
        onnx.checker.check_model(model, full_check=True)
        for ours, theirs in zip(outputs(model.SerializeToString(), names, arrays), expected):
            assert np.abs(ours - theirs).max() <= 2e-5 * max(1.0, np.abs(theirs).max())


def test_the_cases_of_onnx_are_read_back_as_they_were_written():
    written = 0
    for case in [c for c in cases() if c.kind == "node" and not c.name.startswith(RENAMED)][::7]:
        try:
            graph = load(case.model)
        except CompileError:
            continue  # sizes that only the data decides
        if any(op.domain == "edgec" for op in graph.ops):
            continue  # read as operators of edgec's own, which ONNX has no word for: sizes that only the data decides
        model = model_proto(graph)
        assert print_graph(load(model))[0] == print_graph(graph)[0], case.name
        written += 1
    assert written > 200


def test_names_stay_unique_and_outputs_keep_theirs():
    total = Add(X, X, _name="x").output
    graph = Graph((X,), (total, total, X), ("y", "z", "copy"))
    model = model_proto(graph)
    onnx.checker.check_model(model, full_check=True)
    x = np.ones((2, 3), np.float32)
    assert [a.sum() for a in outputs(model.SerializeToString(), ["y", "z", "copy"], {"x": x})] == [12, 12, 6]


def test_the_opset_is_the_oldest_that_has_everything():
    assert model_proto(Graph((X,), (Relu(X).output,), ("y",))).opset_import[0].version == 21
    newer = QuantizeLinear(X, constant(np.float32(1)), precision=onnx.TensorProto.FLOAT).output
    assert model_proto(Graph((X,), (newer,), ("y",))).opset_import[0].version == 23


def test_operators_of_edgec_alone_are_refused():
    with pytest.raises(Unsupported, match="ONNX has no operator edgec.Ratio"):
        model_proto(Graph((X,), (Ratio(X, constant(np.float32(2))).output,), ("y",)))
