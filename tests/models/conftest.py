"""Real models and real inputs from `../shared`, prepared as its catalogue says, and onnxruntime as the judge.

    samples("mlperf_kws_dscnn").inputs                  # f32[600, 49, 10, 1]
    expected = judge("mlperf_kws_dscnn", inputs)        # {"output": f32[600, 12]}
"""
import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODELS, DATA = SHARED / "models", SHARED / "data"
CHUNK = 256         # samples the judge takes at once


@dataclass(frozen=True)
class Samples:
    """Inputs along the first axis; where there are labels, those and which samples the catalogue evaluates on."""

    inputs: np.ndarray
    labels: np.ndarray | None = None
    evaluated: np.ndarray | None = None


def keywords() -> Samples:
    """600 spoken words as MFCC features, quantised by the benchmark that ships them; the files' names number them."""
    with np.load(DATA / "kws01_mfcc_int8.npz") as data:
        inputs = (data["features"].astype(np.float32) - 83) * np.float32(0.5847029)
        numbers = np.array([int(name.split("_")[1]) for name in data["files"]])
        return Samples(inputs, data["labels"], numbers % 5 > 0)


def handwriting() -> Samples:
    """5,000 MNIST images."""
    with np.load(DATA / "mnist_test.npz") as data:
        images, labels = data["images"], data["labels"]
    return Samples(images[..., None].astype(np.float32) / 255, labels, np.arange(len(labels)) >= 200)


def hands() -> Samples:
    """4,450 hands as 42 coordinates of key points."""
    with np.load(DATA / "hand_keypoint.npz") as data:
        features, labels = data["features"], data["labels"]
    return Samples(features, labels, np.arange(len(labels)) % 5 > 0)


def spectra() -> Samples:
    """24 seeded vectors in the range of log-mel energies; the anomaly detector has no data here."""
    return Samples(np.random.default_rng(11).normal(-10, 12, (24, 640)).astype(np.float32))


def photographs(height: int, width: int, channels_first: bool, offset: float, scale: float) -> Samples:
    """Seven photographs, cropped from 256 to 224 pixels and resized; then the same mirrored, then upside down."""
    image = pytest.importorskip("PIL.Image", reason="pillow prepares the photographs")
    names = [row["file"] for row in photograph_rows()]
    opened = [image.open(DATA / "cc_images" / name).convert("RGB").crop((16, 16, 240, 240)) for name in names]
    pixels = np.stack([np.asarray(one.resize((width, height), image.Resampling.BILINEAR), np.float32) for one in opened])
    pixels = (np.concatenate([pixels, pixels[:, :, ::-1], pixels[:, ::-1]]) - np.float32(offset)) / np.float32(scale)
    return Samples(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if channels_first else pixels))


def photograph_rows() -> list[dict[str, str]]:
    with open(DATA / "cc_images" / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


SOURCES = {
    "mlperf_kws_dscnn": keywords,
    "mlperf_vww_mbv1_025": lambda: photographs(96, 96, False, 0, 255),
    "mlperf_ic_resnet8": lambda: photographs(32, 32, False, 0, 1),
    "mlperf_ad_autoencoder": spectra,
    "tinymaix_mbnet128_025": lambda: photographs(128, 128, False, 127.5, 127.5),
    "tinymaix_mnist_valid": handwriting,
    "mobilenetv2_100_224_ptqw8": lambda: photographs(224, 224, True, 127.5, 127.5),
    "ultraface_slim320": lambda: photographs(240, 320, True, 127, 128),
    "hand_keypoint": hands,
}


@cache
def samples_of(name: str) -> Samples:
    return SOURCES[name]()


@cache
def session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(MODELS / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def judged(name: str, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime says, outputs by name; by the model with an open batch where there is one, which is much quicker."""
    batched = (MODELS / f"{name}_dyn.onnx").exists()
    runner, step = session(f"{name}_dyn" if batched else name), CHUNK if batched else 1
    port, = runner.get_inputs()
    chunks = [runner.run(None, {port.name: inputs[at:at + step]}) for at in range(0, len(inputs), step)]
    return {output.name: np.concatenate(parts) for output, parts in zip(runner.get_outputs(), zip(*chunks))}


@pytest.fixture(scope="session", autouse=True)
def shared():
    """The folder of models; every test here is skipped where it is absent."""
    if not MODELS.is_dir() or not DATA.is_dir():
        pytest.skip("no ../shared/models and ../shared/data beside the repository: there are no real models to test with")
    return SHARED


@pytest.fixture(scope="session")
def model_file(shared):
    return lambda name: MODELS / f"{name}.onnx"


@pytest.fixture(scope="session")
def samples(shared):
    """samples(name): the `Samples` of a model."""
    return samples_of


@pytest.fixture(scope="session")
def judge(shared):
    return judged


@pytest.fixture(scope="session")
def accepted_classes(shared) -> list[set[int]]:
    """The ImageNet classes (from 0) that are right for each of the photographs."""
    return [{int(number) for number in row["accepted_imagenet_classes"].split("|")} for row in photograph_rows()]
