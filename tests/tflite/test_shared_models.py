"""Real TFLite files: int8 ones equal the reference kernels bit for bit with requant="tflite", interpreted and compiled; f32 ones nearly."""

import numpy as np
import pytest

import edgec

PEERS = ["mlperf_ad_autoencoder", "mlperf_ic_resnet8", "mlperf_kws_dscnn", "mlperf_vww_mbv1_025", "mobilenetv2_100_224_ptqw8",
         "tinymaix_mbnet128_025", "tinymaix_mnist_valid"]
ZOO = ["mlp", "mobilenet_v2", "squeezenet1_1", "tcn", "tiny_ae", "tiny_dscnn", "tiny_resnet8", "tiny_vww"]
INT8 = [*(("peers", f"{name}_int8.tflite") for name in PEERS), *(("zoo_tflite", f"{name}_int8.tflite") for name in ZOO)]
TOLERANCE = 1e-5  # of the largest output
SEEDS = 2


def inputs_of(graph, seed):
    rng = np.random.default_rng(seed)
    return {v.name: rng.integers(v.dtype.low, v.dtype.high, v.shape, endpoint=True).astype(v.dtype.numpy) if v.dtype.is_integer
            else rng.standard_normal(v.shape).astype(np.float32) for v in graph.inputs}


def real_inputs(name, file):
    """int8 inputs from labelled data, where there are any: keywords as they are, digits scaled as the file says."""
    data = file.parents[1] / "data"
    if name == "mlperf_kws_dscnn" and (data / "kws01_mfcc_int8.npz").is_file():
        return np.load(data / "kws01_mfcc_int8.npz")["features"][:40].reshape(-1, 1, 49, 10, 1)
    if name == "tinymaix_mnist_valid" and (data / "mnist_test.npz").is_file():
        images = np.load(data / "mnist_test.npz")["images"][:40].astype(np.int64)
        return (images - 128).astype(np.int8)[:, None, :, :, None]
    return None


@pytest.mark.parametrize("folder, names", [("peers", {name for folder, name in INT8 if folder == "peers"}),
                                           ("zoo_tflite", {f"{name}_{kind}.tflite" for name in ZOO for kind in ("int8", "f32")})])
def test_every_shared_file_is_compared(folder, names, shared_folder):
    """A file that is added there fails here until a list above has it."""
    assert {path.name for path in shared_folder(folder).glob("*.tflite")} == names


@pytest.mark.parametrize("folder, name", INT8, ids=[f"{folder}-{name}" for folder, name in INT8])
def test_int8_bit_for_bit(folder, name, shared_file, judge):
    file = shared_file(folder, name)
    graph = edgec.load(file, requant="tflite")
    artifact = edgec.compile(graph, optimize="1", workers=0)
    cases = [inputs_of(graph, seed) for seed in range(SEEDS)]
    found = real_inputs(name.removesuffix("_int8.tflite"), file)
    cases += [] if found is None else [{graph.inputs[0].name: x} for x in found]
    for number, inputs in enumerate(cases):
        expected = judge(file, list(inputs.values()))
        results = [artifact.run(inputs)] + ([edgec.interpret(graph, inputs)] if number < SEEDS else [])
        for result in results:
            for output, wanted in zip(graph.output_names, expected, strict=True):
                np.testing.assert_array_equal(result[output], wanted)


@pytest.mark.parametrize("name", ZOO)
def test_f32_within_rounding(name, shared_file, judge):
    file = shared_file("zoo_tflite", f"{name}_f32.tflite")
    graph = edgec.load(file)
    for seed in range(2):
        inputs = inputs_of(graph, seed)
        for output, wanted in zip(graph.output_names, judge(file, list(inputs.values())), strict=True):
            found = edgec.interpret(graph, inputs)[output]
            assert np.abs(found - wanted).max() <= TOLERANCE * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["mlperf_kws_dscnn", "tinymaix_mnist_valid"])
def test_without_requant_classes_agree_and_native_equals_interpreted(name, shared_file, judge):
    file = shared_file("peers", f"{name}_int8.tflite")
    graph, samples = edgec.load(file), real_inputs(name, file)
    if samples is None:
        pytest.skip("no labelled data for this model in ../shared/data")
    artifact, (given,), (output,) = edgec.compile(graph, optimize="1", workers=0), graph.inputs, graph.output_names
    results = [artifact.run({given.name: x})[output] for x in samples]
    agreed = sum(found.argmax() == judge(file, [x])[0].argmax() for found, x in zip(results, samples))
    assert agreed >= 0.95 * len(samples)
    for found, x in zip(results[:4], samples):
        np.testing.assert_array_equal(edgec.interpret(graph, {given.name: x})[output], found)
