"""f32 arithmetic by integers: bit for bit what numpy gives, on random bit patterns, near ties and at the ends of the range."""

import numpy as np
import pytest

from edgec.evaluate import evaluate
from edgec.expr import read, var
from edgec.kernel import Buffer
from edgec.portable import float as portable_float
from edgec.types import u32


def computed(function, *arrays):
    """The words that a function of words gives, element by element."""
    sources = [Buffer(f"x{n}", u32, a.shape, "input") for n, a in enumerate(arrays)]
    i = var("i", 0, len(arrays[0]) - 1)
    with np.errstate(all="ignore"):
        return evaluate(function(*(read(s, (i,)) for s in sources)), {i: np.arange(len(arrays[0]))},
                        lambda source, at: arrays[sources.index(source)][at])


def flushed(words):
    """Words with numbers below the smallest normal one made zeros, and one word for every NaN."""
    small = (words & 0x7F800000) == 0
    nan = (words & 0x7FFFFFFF) > 0x7F800000
    return np.where(nan, np.uint32(0x7FC00000), np.where(small, words & np.uint32(0x80000000), words))


def pairs():
    """Random patterns, numbers of like size, whole numbers, and every pair of special ones."""
    random = np.random.default_rng(1)
    wild = random.integers(0, 1 << 32, (2, 200_000), dtype=np.uint32)
    near = (random.normal(size=(2, 200_000)) * 2.0 ** random.integers(-26, 27, (2, 200_000))).astype(np.float32).view(np.uint32)
    whole = random.integers(-300, 300, (2, 50_000)).astype(np.float32).view(np.uint32)
    ends = np.float32([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1.2e-38, 16777216, 0.5, 1.1754944e-38]).view(np.uint32)
    special = np.stack(np.meshgrid(ends, ends)).reshape(2, -1)
    return flushed(np.concatenate([wild, near, whole, special], axis=1))


@pytest.mark.parametrize("name, operation", [("add", np.add), ("subtract", np.subtract), ("multiply", np.multiply), ("divide", np.divide)])
def test_arithmetic(name, operation):
    a, b = pairs()
    with np.errstate(all="ignore"):
        exact = operation(a.view(np.float32), b.view(np.float32))
        wide = np.abs(operation(a.view(np.float32).astype(np.float64), b.view(np.float32).astype(np.float64)))
    found, expected = computed(getattr(portable_float, name), a, b), flushed(exact.view(np.uint32))
    certain = ~((wide < 1.18e-38) & (wide > 1.17e-38))  # what rounds up to the smallest normal number may be flushed before
    np.testing.assert_array_equal(flushed(found)[certain], expected[certain])


@pytest.mark.parametrize("name, operation", [("less", np.less), ("at_most", np.less_equal), ("equal", np.equal)])
def test_comparisons(name, operation):
    a, b = pairs()
    np.testing.assert_array_equal(computed(getattr(portable_float, name), a, b), operation(a.view(np.float32), b.view(np.float32)))
    np.testing.assert_array_equal(computed(portable_float.unordered, a, b), np.isnan(a.view(np.float32)) | np.isnan(b.view(np.float32)))


def test_conversions():
    random = np.random.default_rng(2)
    words = np.concatenate([random.integers(0, 1 << 32, 100_000, dtype=np.uint32) >> random.integers(0, 32, 100_000).astype(np.uint32),
                            np.uint32([0, 1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 24, (1 << 24) + 1, (1 << 25) + 2])])
    np.testing.assert_array_equal(computed(portable_float.from_unsigned, words), words.astype(np.float32).view(np.uint32))
    np.testing.assert_array_equal(computed(portable_float.from_signed, words), words.view(np.int32).astype(np.float32).view(np.uint32))
    real = pairs()[0]
    real = real[~np.isnan(real.view(np.float32))]
    wide = np.trunc(real.view(np.float32).astype(np.float64))
    np.testing.assert_array_equal(computed(portable_float.to_signed, real).view(np.int32), np.clip(wide, -2**31, 2**31 - 1).astype(np.int32))
    np.testing.assert_array_equal(computed(portable_float.to_unsigned, real), np.clip(wide, 0, 2**32 - 1).astype(np.uint32))


def test_nearest():
    real = pairs()[0]
    halves = (np.arange(-3000, 3000) / 4).astype(np.float32).view(np.uint32)
    real = np.concatenate([real[~np.isnan(real.view(np.float32))], halves])
    wide = np.clip(np.rint(real.view(np.float32).astype(np.float64)), -2**31, 2**31 - 1).astype(np.int32)
    np.testing.assert_array_equal(computed(portable_float.nearest, real).view(np.int32), wide)
