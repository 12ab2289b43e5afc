"""Real networks, compiled and held against onnxruntime on every sample there is: same numbers, same classes, no wasted memory.

A result may differ by 1e-4 of the sample's largest output; classes must be equal unless the two best are closer than that.
"""
import numpy as np
import pytest

import edgec
from edgec.backends.artifact import Artifact
from edgec.backends.emulate import emulate, missing_tools
from edgec.backends.target import find

SMALL = ["mlperf_kws_dscnn", "mlperf_vww_mbv1_025", "mlperf_ic_resnet8", "mlperf_ad_autoencoder",
         "tinymaix_mbnet128_025", "tinymaix_mnist_valid"]
DYNAMIC = [*SMALL, "hand_keypoint"]
ALL = [*DYNAMIC, "mobilenetv2_100_224_ptqw8", "ultraface_slim320"]
TOLERANCE = 1e-4
EMULATED = 21       # samples
ELSEWHERE = [*((name, "aarch64") for name in SMALL), ("mlperf_kws_dscnn", "cortex-m4"), ("mlperf_vww_mbv1_025", "cortex-m55"),
             ("tinymaix_mnist_valid", "cortex-m7"), ("tinymaix_mnist_valid", "cortex-a7")]
BATCHES = [3, 1, 8, 2, 7, 5, 4, 6]

# Right answers of the f32 network in percent, as the catalogue has measured them with onnxruntime.
PUBLISHED = {"mlperf_kws_dscnn": 92.0, "tinymaix_mnist_valid": 94.854, "hand_keypoint": 96.404}
RECOGNISED = {"mobilenetv2_100_224_ptqw8": (5, 1), "tinymaix_mbnet128_025": (4, 0)}       # photographs of seven, and the number of class 0


def assert_alike(found: np.ndarray, expected: np.ndarray):
    """Per sample (axis 0): within the tolerance of its largest output, and of one class unless the best two nearly tie."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    found, expected = (array.reshape(len(array), -1).astype(np.float64) for array in (found, expected))
    allowed = TOLERANCE * np.abs(expected).max(axis=1)
    excess = np.abs(found - expected).max(axis=1) / allowed
    assert np.all(excess <= 1), f"sample {np.argmax(excess)} is off by {excess.max() * TOLERANCE:.2g} of its largest output"
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > allowed
    np.testing.assert_array_equal(found.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])


def run_each(artifact: Artifact, inputs: np.ndarray, size: int = 1) -> dict[str, np.ndarray]:
    """Outputs by name over all inputs, `size` samples a call."""
    name, = (port.name for port in artifact.interface.inputs)
    calls = [artifact.run({name: inputs[at:at + size]}) for at in range(0, len(inputs), size)]
    return {key: np.concatenate([call[key] for call in calls]) for key in calls[0]}


def assert_all_alike(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]):
    assert list(found) == list(expected)
    for name in expected:
        assert_alike(found[name], expected[name])


def assert_no_wasted_memory(artifact: Artifact):
    """The arena is at most 5 % larger than what is alive at once."""
    assert artifact.manifest["arena_bytes"] <= 1.05 * artifact.manifest["live_bytes"]


@pytest.mark.parametrize("name", ALL)
def test_every_sample(name, model_file, samples, judge, accepted_classes):
    artifact = edgec.compile(model_file(name))
    assert_no_wasted_memory(artifact)
    given = samples(name)
    found = run_each(artifact, given.inputs)
    assert_all_alike(found, judge(name, given.inputs))
    if name in PUBLISHED:
        assert round(100 * np.mean((answers(found) == given.labels)[given.evaluated]), 3) == PUBLISHED[name]
    if name in RECOGNISED:
        right, first = RECOGNISED[name]
        assert sum(int(answer) - first in classes for answer, classes in zip(answers(found), accepted_classes)) == right


def answers(found: dict[str, np.ndarray]) -> np.ndarray:
    probabilities, = found.values()
    return probabilities.argmax(axis=1)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", DYNAMIC)
def test_fixed_batch(name, size, model_file, samples, judge):
    artifact = edgec.compile(model_file(f"{name}_dyn"), bind={"N": size})
    assert_no_wasted_memory(artifact)
    inputs = samples(name).inputs[:21]
    assert_all_alike(run_each(artifact, inputs, size), judge(name, inputs))


@pytest.mark.parametrize("name", DYNAMIC)
def test_any_batch_up_to_eight(name, model_file, samples, judge):
    artifact = edgec.compile(model_file(f"{name}_dyn"), bind={"N": "1..8"})
    assert_no_wasted_memory(artifact)
    inputs = samples(name).inputs[:len(BATCHES) + 8]
    expected = judge(name, inputs)
    for start, size in enumerate(BATCHES):
        rows = slice(start, start + size)
        assert_all_alike(run_each(artifact, inputs[rows], size), {key: value[rows] for key, value in expected.items()})


@pytest.mark.parametrize("name, machine", ELSEWHERE)
def test_under_emulation(name, machine, model_file, samples, judge):
    target = find(machine)
    if missing := missing_tools(target):
        pytest.skip(f"{target.name}: {', '.join(missing)} not installed")
    artifact = edgec.compile(model_file(name), target)
    port, = artifact.interface.inputs
    inputs = samples(name).inputs[:EMULATED]
    assert len(inputs) >= 20
    outputs = emulate(artifact, [{port.name: row[None]} for row in inputs]).outputs
    assert_all_alike({key: np.concatenate([output[key] for output in outputs]) for key in outputs[0]}, judge(name, inputs))
