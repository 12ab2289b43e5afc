"""Whole models through reader, passes and interpreter, compared with onnxruntime (those in ../shared, where it is there, and our own)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgec import load
from edgec.graph_text import parse_graph, print_graph
from edgec.interpreter import run
from edgec.pipeline import parse_pipeline, registered, run_pipeline, verify_hook
from edgec.verifier import verify

ROOT = Path(__file__).parent.parent
FAMILIES = ("mlperf_", "tinymaix_", "mobilenetv2_", "ultraface_", "hand_keypoint", "fsdd_tcn", "fsdd_transformer")
MODELS = sorted(p for p in (ROOT.parent / "shared" / "models").glob("*.onnx") if p.name.startswith(FAMILIES)) + \
    sorted((ROOT / "testdata" / "digits").glob("*.onnx"))


def session(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(str(path), options)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_models_mean_what_onnxruntime_says(path):
    graph = load(path, bind={"N": "1..8"} if path.stem.endswith(("_dyn", "digits_dyn")) else None)
    assert verify(graph) == []
    generator = np.random.default_rng(0)
    arrays = [generator.uniform(-1, 1, [3 if not isinstance(d, int) else d for d in v.shape]).astype(v.dtype.numpy) for v in graph.inputs]
    expected = session(path).run(list(graph.output_names), {v.name: a for v, a in zip(graph.inputs, arrays)})
    steps = parse_pipeline("fold-constants,simplify,decompose,fold-constants,simplify", registered())
    simpler = run_pipeline(graph, steps, hooks=(verify_hook,))
    for form in (graph, simpler):
        for ours, theirs in zip(run(form, arrays), expected):
            assert np.abs(ours - theirs).max() <= 2e-5 * max(1.0, np.abs(theirs).max())
    assert all(a is b for a, b in zip(parse_graph(*print_graph(simpler)).outputs, simpler.outputs))
    assert sum(op.operands != () for op in simpler.ops) <= sum(op.operands != () for op in graph.ops)
