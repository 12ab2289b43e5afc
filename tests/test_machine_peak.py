"""The measured peaks: dot products of integers have one of their own where a row multiplies them."""

from dataclasses import replace

import pytest

from edgec.backends.native import runs_here
from edgec.backends.target import find
from edgec.machine_peak import peak_dots, peak_flops

TARGETS = [find(name) for name in ("native", "x86-64-v3", "x86-64-v2") if runs_here(find(name))]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_dot_products_are_timed(target):
    rate = peak_dots(target)
    assert 0 < rate < 16 * peak_flops(target)


def test_no_row_no_peak():
    assert peak_dots(replace(find("native"), instructions=())) == 0.0
