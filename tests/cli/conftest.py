"""Runs commands of the command line in this process: `edgec("compile", DIGITS)` gives status, standard output and standard error."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgec.cli import main

DIGITS = Path(__file__).parents[2] / "testdata" / "digits"


@pytest.fixture
def edgec(capsys):
    def run(*argv):
        status = main([str(a) for a in argv])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return SimpleNamespace(status=status, out=printed.out, err=printed.err)
    return run


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Options that keep compiled kernels over the whole session, at the lowest optimisation."""
    return ("-O0", "--cache", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def digits():
    return DIGITS / "digits.onnx"


@pytest.fixture
def digits_dyn():
    return DIGITS / "digits_dyn.onnx"


@pytest.fixture
def samples(tmp_path):
    """An .npz file with one input of digits, and the array."""
    image = np.load(DIGITS / "digits.npz")["inputs"][:1]
    np.savez(tmp_path / "in.npz", image=image)
    return tmp_path / "in.npz", image
