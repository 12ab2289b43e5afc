"""The garbage collector waits while a model is compiled, and is as it was afterwards, also after an error."""

import gc

import pytest

from edgec.rare_collection import YOUNG, rarely_collected


@pytest.fixture
def usual():
    """The collector's thresholds, put back after the test."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_it_waits_inside_and_is_as_before_afterwards(usual):
    gc.set_threshold(700, 10, 10)
    with rarely_collected():
        assert gc.get_threshold() == (YOUNG, 10, 10)
        with rarely_collected():
            assert gc.get_threshold() == (YOUNG, 10, 10)
        assert gc.get_threshold() == (YOUNG, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(ValueError), rarely_collected():
        raise ValueError("broken")
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("number", [0, 10 * YOUNG])
def test_where_it_is_off_or_waits_longer_it_stays(usual, number):
    gc.set_threshold(number, 10, 10)
    with rarely_collected():
        assert gc.get_threshold() == (number, 10, 10)
    assert gc.get_threshold() == (number, 10, 10)
