"""Samples for the models of ../shared: what they are calibrated with, and what they are judged on. Used by docs/measure_quantization.py.

Labelled data is split as ../shared/CATALOG.md says. Image models without labels get crops of the seven pictures there, audio models frames
of the recordings, with the states the float model has at each frame; the autoencoder gets seeded noise.

    task("tinymaix_mnist_valid").calib, .inputs, .labels
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).parents[2] / "shared"
DATA = SHARED / "data"
Sample = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Task:
    """Calibration samples, the samples to judge by, and their classes where they are known."""

    calib: list[Sample]
    inputs: list[Sample]
    labels: np.ndarray | None = None


def _named(name: str, arrays: Sequence[np.ndarray]) -> list[Sample]:
    return [{name: np.ascontiguousarray(a[None], np.float32)} for a in arrays]


def keywords() -> Task:
    """600 spectrograms of Speech Commands; the number in the file name says which part one belongs to."""
    file = np.load(DATA / "kws01_mfcc_int8.npz")
    x = (file["features"].astype(np.float32) - 83) * np.float32(0.5847029)
    part = np.array([int(name.split("_")[1]) for name in file["files"]]) % 5
    judged = (part == 1) | (part == 2)
    return Task(_named("input", x[part == 0]), _named("input", x[judged]), file["labels"][judged].astype(np.int64))


def handwriting() -> Task:
    """MNIST: the first 200 images calibrate."""
    file = np.load(DATA / "mnist_test.npz")
    x = file["images"].astype(np.float32)[..., None] / 255
    return Task(_named("input", x[:200]), _named("input", x[200:]), file["labels"][200:].astype(np.int64))


def digits_spoken() -> Task:
    """FSDD: 193 samples of the training set calibrate, takes 2 to 4 judge."""
    file = np.load(DATA / "fsdd_logmel.npz")
    x, train, judged = file["features"].astype(np.float32), np.flatnonzero(file["take"] >= 5), (file["take"] >= 2) & (file["take"] <= 4)
    calib = x[train[::max(1, len(train) // 193)]][:193]
    return Task(_named("input", calib), _named("input", x[judged]), file["labels"][judged].astype(np.int64))


def hands() -> Task:
    """Keypoints of hands: every fifth calibrates (223 of them)."""
    file = np.load(DATA / "hand_keypoint.npz")
    x, y = (file[k] for k in list(file)[:2])
    n = np.arange(len(x))
    return Task(_named("input", x[n % 5 == 0][:223]), _named("input", x[n % 5 != 0]), y[n % 5 != 0].astype(np.int64))


def noise() -> Task:
    """Seeded numbers in the range of log-mel energies, smooth along time: there is no recording."""
    generator = np.random.default_rng(0)
    x = generator.normal(-6, 3, (160, 1, 640)) + generator.normal(0, 2, (160, 1, 1))
    return Task(_named("input", x[:100, 0]), _named("input", x[100:, 0]))


@dataclass(frozen=True)
class Pictures:
    """How pictures become inputs: f32 RGB 0..255 of this size goes into `prepare`."""

    size: tuple[int, int]
    prepare: Callable[[np.ndarray], np.ndarray]
    name: str = "input"


def pictures(kind: Pictures) -> Task:
    """Crops of seven pictures: four of each calibrate, the others and the whole pictures judge."""
    calib, judged = [], []
    for image in _images():
        generator = np.random.default_rng(len(calib))
        for n in range(9):
            array = _crop(kind, image, generator, 256 if n == 0 else int(generator.integers(120, 240)))
            (calib if n % 2 else judged).append(array[:, ::-1] if n % 4 == 1 and array.shape[-1] == 3 else array)
    return Task(_named(kind.name, calib), _named(kind.name, judged))


def more_pictures(model: str, each: int = 16, seed: int = 1) -> list[Sample]:
    """Further crops of the seven pictures, for methods that learn much from the data; none for models that see no pictures."""
    if model not in PICTURES:
        return []
    kind, generator = PICTURES[model], np.random.default_rng(seed)
    return _named(kind.name, [_crop(kind, image, generator, int(generator.integers(100, 250))) for image in _images() for _ in range(each)])


def _images() -> list[Any]:
    from PIL import Image
    return [Image.open(file).convert("RGB") for file in sorted((DATA / "cc_images").glob("*.jpg"))]


def _crop(kind: Pictures, image: Any, generator: np.random.Generator, side: int) -> np.ndarray:
    """A square of a picture, prepared."""
    left, top = (int(generator.integers(0, 257 - side)) for _ in range(2))
    return kind.prepare(np.asarray(image.crop((left, top, left + side, top + side)).resize(kind.size, 2), np.float32))


def first(array: np.ndarray) -> np.ndarray:
    """Channels first."""
    return array.transpose(2, 0, 1)


def _samples(file: str) -> np.ndarray:
    with wave.open(str(DATA / file)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768


def speech_frames() -> list[np.ndarray]:
    """What silero reads of 60 s: 512 new samples behind 64 old ones."""
    sound = _samples("silero_test.wav")
    padded = np.concatenate([np.zeros(64, np.float32), sound])
    return [padded[None, n:n + 576] for n in range(0, len(sound) - 511, 512)]


def stateful(path: Path, frames: Sequence[np.ndarray], run: Callable[[Sample], list[np.ndarray]], names: tuple[str, str],
             shape: tuple[int, ...], every: int = 9) -> Task:
    """Frames with the states of the float model; every `every`-th calibrates."""
    state, found = np.zeros(shape, np.float32), []
    for frame in frames:
        found.append({names[0]: frame.astype(np.float32), names[1]: state})
        state = run(found[-1])[1]
    return Task(found[::every], [s for n, s in enumerate(found) if n % every])


def spectra() -> list[np.ndarray]:
    """Magnitudes of 512 samples, 128 further each time (DTLN, first stage)."""
    sound = _samples("gtcrn_mix.wav")
    return [np.abs(np.fft.rfft(sound[n:n + 512]))[None, None].astype(np.float32) for n in range(0, len(sound) - 511, 128)]


def blocks() -> list[np.ndarray]:
    """512 samples, 128 further each time (DTLN, second stage: here of the noisy sound itself)."""
    sound = _samples("gtcrn_mix.wav")
    return [sound[None, None, n:n + 512] for n in range(0, len(sound) - 511, 128)]


def task(model: str, run: Callable[[Sample], list[np.ndarray]] | None = None) -> Task:
    """The samples of a model of ../shared/models; stateful ones need a function that runs the float model."""
    path = SHARED / "models" / f"{model}.onnx"
    makers: dict[str, Callable[[], Task]] = {
        "mlperf_kws_dscnn": keywords, "tinymaix_mnist_valid": handwriting, "hand_keypoint": hands, "mlperf_ad_autoencoder": noise,
        "fsdd_tcn": digits_spoken, "fsdd_gru2": digits_spoken, "fsdd_transformer": digits_spoken,
        "silero_vad_16k": lambda: stateful(path, speech_frames(), run, ("input", "state"), (2, 1, 128)),
        "dtln_1": lambda: stateful(path, spectra(), run, ("input_2", "input_3"), (1, 2, 128, 2)),
        "dtln_2": lambda: stateful(path, blocks(), run, ("input_4", "input_5"), (1, 2, 128, 2)),
    }
    return pictures(PICTURES[model]) if model in PICTURES else makers[model]()


PICTURES = {
    "mlperf_vww_mbv1_025": Pictures((96, 96), lambda a: a / 255),
    "mlperf_ic_resnet8": Pictures((32, 32), lambda a: a),
    "tinymaix_mbnet128_025": Pictures((128, 128), lambda a: a / 127.5 - 1),
    "mobilenetv2_100_224_ptqw8": Pictures((224, 224), lambda a: first(a / 127.5 - 1)),
    "ultraface_slim320": Pictures((320, 240), lambda a: first((a - 127) / 128)),
    "fastestdet_352": Pictures((352, 352), lambda a: first(a[..., ::-1] / 255), "input.1"),
}


MODELS = ("mlperf_kws_dscnn", "tinymaix_mnist_valid", "hand_keypoint", "fsdd_tcn", "fsdd_gru2", "fsdd_transformer", "mlperf_ad_autoencoder",
          "mlperf_vww_mbv1_025", "mlperf_ic_resnet8", "tinymaix_mbnet128_025", "mobilenetv2_100_224_ptqw8", "ultraface_slim320",
          "fastestdet_352", "silero_vad_16k", "dtln_1", "dtln_2")
