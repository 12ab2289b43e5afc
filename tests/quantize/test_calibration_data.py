"""Calibration data from files: what is whole is read, what is damaged or does not fit gets one error that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgec import load
from edgec.errors import ModelError
from edgec.quantize.calibration_data import labels, samples

GRAPH = load(Path(__file__).parents[2] / "testdata" / "digits" / "digits.onnx")
IMAGES = np.random.default_rng(0).random((6, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_whole_files_are_read(tmp_path, save):
    save(tmp_path / "calib.npz", image=IMAGES)
    found = samples(GRAPH, tmp_path / "calib.npz")
    assert len(found) == 6 and all(np.array_equal(a["image"][0], b) for a, b in zip(found, IMAGES))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncated_files_are_told(tmp_path, save):
    save(tmp_path / "whole.npz", image=IMAGES)
    whole = (tmp_path / "whole.npz").read_bytes()
    for count in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:count])
        with pytest.raises(ModelError, match="cannot read calibration data from .*cut.npz"):
            samples(GRAPH, tmp_path / "cut.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_changed_bytes_never_end_in_another_error(tmp_path, save):
    save(tmp_path / "whole.npz", image=IMAGES)
    whole, told = (tmp_path / "whole.npz").read_bytes(), 0
    for at in range(0, len(whole), 13):
        (tmp_path / "changed.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1:])
        try:
            assert len(samples(GRAPH, tmp_path / "changed.npz")) == 6  # a byte that says nothing, such as a date
        except ModelError as error:
            told += "changed.npz" in str(error)
    assert told > len(whole) // 26


@pytest.mark.parametrize("arrays, message", [
    ({"picture": IMAGES}, "there is no input 'picture'"),
    ({"image": IMAGES, "more": IMAGES}, "there is no input 'more'"),
    ({"image": IMAGES[:, :, :5]}, r"has the shape \[6, 1, 5, 8\], which is not samples x 1x8x8"),
    ({"image": IMAGES * np.nan}, "has NaN in sample 0"),
    ({"image": np.full_like(IMAGES, np.inf)}, "has infinite values in sample 0"),
    ({"image": IMAGES[:0]}, "is empty"),
    ({"image": IMAGES.astype(np.int32)}, "has element type int32, the input is f32"),
    ({"image": IMAGES.astype(np.complex64)}, "has element type complex64"),
    ({"image": np.array(["a", "b"])}, "has element type <U1"),
    ({"image": np.array([{}], object)}, "cannot read calibration data"),
])
def test_what_does_not_fit_is_told(tmp_path, arrays, message):
    np.savez(tmp_path / "calib.npz", **arrays)
    with pytest.raises(ModelError, match=message):
        samples(GRAPH, tmp_path / "calib.npz")


def test_labels_that_cannot_be_read_are_told(tmp_path):
    np.save(tmp_path / "whole.npy", np.arange(6))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-9])
    with pytest.raises(ModelError, match="cannot read labels"):
        labels(tmp_path / "cut.npy", 6)
    with pytest.raises(ModelError, match="5 whole numbers are needed"):
        labels(tmp_path / "whole.npy", 5)
