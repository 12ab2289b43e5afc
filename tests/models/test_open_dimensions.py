"""Every model with an open dimension, compiled once for a range of sizes and held against onnxruntime at several of them."""
import numpy as np
import pytest

import edgec
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find
from edgec.errors import CompileError

onnxruntime = pytest.importorskip("onnxruntime")

NAMED = {"fsdd_gru2_dyn": (50, 32), "fsdd_tcn_dyn": (50, 32), "fsdd_transformer_dyn": (50, 32), "hand_keypoint_dyn": (42,),
         "mlperf_ad_autoencoder_dyn": (640,), "mlperf_kws_dscnn_dyn": (49, 10, 1), "tinymaix_mnist_valid_dyn": (28, 28, 1)}
NAMELESS = {"skl_diabetes_gbr_dyn": 10, "skl_digits_mlp_dyn": 64, "skl_digits_rf_dyn": 64, "skl_iris_logreg_dyn": 4}
SIZES = {"1..8": (8, 1, 5), "3..6": (3, 6, 4)}


def ported(name, sizes, model_file):
    """The graph for a range of sizes, the judge, and what draws inputs of one size."""
    path = str(model_file(name))
    if name in NAMED:
        graph, rest = edgec.load(path, bind={"N": sizes}), NAMED[name]
    else:
        graph, rest = edgec.load(path, shapes={"X": (sizes, NAMELESS[name])}), (NAMELESS[name],)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session, (port,) = onnxruntime.InferenceSession(path, options), graph.inputs
    return graph, session, lambda n: {port.name: np.random.default_rng(n).normal(0, 1, (n, *rest)).astype(np.float32)}


def assert_as_judged(found, session, arrays):
    tensors = [output.name for output in session.get_outputs() if output.name in found]
    for name, expected in zip(tensors, session.run(tensors, arrays)):
        assert found[name].shape == expected.shape and found[name].dtype == expected.dtype
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", [*NAMED, *NAMELESS])
def test_native(name, sizes, model_file):
    graph, session, drawn = ported(name, sizes, model_file)
    artifact = edgec.compile(graph)
    for n in SIZES[sizes]:
        assert_as_judged(artifact.run(drawn(n)), session, drawn(n))
    low, high = artifact.interface.dims[0][1:]
    for n in (low - 1, high + 1):
        with pytest.raises(CompileError, match=f"dimension .* is {n}, expected {low} to {high}"):
            artifact.run(drawn(n))


@pytest.mark.parametrize("name", ["fsdd_gru2_dyn", "fsdd_transformer_dyn", "hand_keypoint_dyn", "skl_digits_mlp_dyn", "skl_digits_rf_dyn"])
def test_aarch64(name, model_file):
    target = find("aarch64")
    if missing := missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing)} not installed")
    graph, session, drawn = ported(name, "1..8", model_file)
    samples = [drawn(n) for n in (1, 5, 8, 2)]
    for arrays, found in zip(samples, emulate(edgec.compile(graph, target), samples).outputs):
        assert_as_judged(found, session, arrays)
