"""Trained trees, forests, linear models and pipelines of `../shared`: compiled for this computer and aarch64, as onnxruntime gives them."""

import numpy as np
import onnxruntime
import pytest
from sklearn import datasets

from edgec.backends.emulate import missing_tools
from edgec.backends.target import find
from edgec.compiler import compile
from edgec.onnx.reader import load

ROWS = 24
LOADERS = {"digits": datasets.load_digits, "iris": datasets.load_iris, "diabetes": datasets.load_diabetes}


@pytest.mark.parametrize("name", ["skl_iris_logreg", "skl_digits_mlp", "skl_digits_rf", "skl_diabetes_gbr"])
@pytest.mark.parametrize("target", ["native", "aarch64"])
def test_classical_models(shared, name, target):
    if missing := missing_tools(find(target)) if target != "native" else []:
        pytest.skip(f"{target}: {', '.join(missing)} not installed")
    path = shared / "models" / f"{name}_dyn.onnx"
    rows = LOADERS[name.split("_")[1]]().data.astype(np.float32)
    rows = np.ascontiguousarray(rows[:: max(1, len(rows) // ROWS)][:ROWS])
    found = compile(load(path, {"X": rows.shape}), target, optimize="1").run({"X": rows})
    expected = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"X": rows})
    for result, wanted in zip(found.values(), expected):
        assert result.dtype == wanted.dtype and result.shape == wanted.shape
        np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)
