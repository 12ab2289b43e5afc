"""Whether two indices can be equal: slots that steps take in turn, places a constant apart, and what is not known."""

import pytest

from edgec.expr import var
from edgec.passes.slots import apart, never_equal

T, U = var("t", 0, 99), var("u", 0, 99)


@pytest.mark.parametrize("a, b, never", [
    (T % 2, (T + 1) % 2, True), (T % 2, (T + 2) % 2, False), (T % 3, (T + 2) % 3, True), (T % 3, (T + 3) % 3, False),
    (T % 2, (T + 1) % 3, False), (T % 2, U % 2, False), (T, T + 1, True), (T, T, False), (T, U, False), (T * 2, T * 2 + 1, True),
    (T % 2, T * 0, False), ((2 * T) % 4, (2 * T + 1) % 4, True),
])
def test_known_differences(a, b, never):
    assert never_equal(a, b) is never and never_equal(b, a) is never
    if never:
        values = lambda e: [_value(e, t) for t in range(20)]
        assert all(x != y for x, y in zip(values(a), values(b)))


def _value(e, t):
    from edgec.expr import const
    from edgec.sweeps import substitute
    from edgec.types import index

    found = substitute(e, {T: const(t, index)})
    return found.data


def test_one_index_that_differs_is_enough():
    assert apart((T % 2, U), ((T + 1) % 2, U)) and not apart((T % 2, U), (T % 2, T)) and not apart((), ())
