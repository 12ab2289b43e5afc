"""Conversions and divisions written out: bit for bit what numpy gives, over every half float and the ends of every type."""

import ml_dtypes
import numpy as np
import pytest

from edgec.evaluate import convert, divide, evaluate
from edgec.expr import binary, cast, compare, read, var
from edgec.kernel import Buffer
from edgec.portable.expansion import expand
from edgec.sweeps import walk
from edgec.types import DTYPES, bf16, bool_, dtype_of, f16, f32, f64, i64, index, u64

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
PLAIN = frozenset()


def computed(formula, *arrays, native=PLAIN):
    """The value of an expanded expression of arrays, element by element."""
    sources = [Buffer(f"x{n}", dtype_of(a.dtype), a.shape, "input") for n, a in enumerate(arrays)]
    i = var("i", 0, len(arrays[0]) - 1)
    expanded = expand(formula(*(read(s, (i,)) for s in sources)), native, True)
    with np.errstate(all="ignore"):
        return evaluate(expanded, {i: np.arange(len(arrays[0]))}, lambda source, at: arrays[sources.index(source)][at])


def same_bits(found, expected) -> None:
    """Equal representations; every NaN is one."""
    assert found.dtype == expected.dtype
    bits = f"u{found.dtype.itemsize}"
    nan = (found != found) & (expected != expected)
    np.testing.assert_array_equal(found.view(bits)[~nan], expected.view(bits)[~nan])


def floats() -> np.ndarray:
    """Random bit patterns, every half float with its neighbours in f32, and what lies midway between two."""
    generator = np.random.default_rng(3)
    exact = HALVES[np.isfinite(HALVES)].astype(np.float32)
    midway = (exact[:-1].astype(np.float64) + exact[1:]).astype(np.float32) / 2
    drawn = generator.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32)
    neighbours = [np.nextafter(exact, np.float32(end)) for end in (1e9, -1e9)]
    return np.concatenate([drawn, exact, *neighbours, midway, np.float32([np.inf, -np.inf, np.nan, 65519, 65520, 65536])])


def test_half_floats_widen():
    same_bits(computed(lambda x: cast(x, f32), HALVES), HALVES.astype(np.float32))


@pytest.mark.parametrize("dtype", [f16, bf16], ids=str)
def test_floats_narrow(dtype):
    x = floats()
    with np.errstate(over="ignore", invalid="ignore"):
        same_bits(computed(lambda x: cast(x, dtype), x), x.astype(dtype.numpy))


def test_doubles_narrow_with_one_rounding():
    """Midway between two half floats and a little more: rounding to f32 first would lose the little."""
    half = HALVES[np.isfinite(HALVES)].astype(np.float64)
    midway = (half[:-1] + half[1:]) / 2
    x = np.concatenate([midway * (1 + 2.0**-40), midway * (1 - 2.0**-40), midway, half, np.array([np.inf, -np.inf, np.nan, 1e300, 1e-300])])
    with np.errstate(over="ignore"):
        same_bits(computed(lambda x: cast(x, f16), x), x.astype(np.float16))


def test_one_16_bit_float_becomes_the_other():
    x = HALVES.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        same_bits(computed(lambda x: cast(x, bf16), HALVES), x.astype(ml_dtypes.bfloat16))
        other = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16)
        same_bits(computed(lambda x: cast(x, f16), other), other.astype(np.float32).astype(np.float16))


def whole(dtype) -> np.ndarray:
    """64-bit integers of every length, the ends of the type, and what f32 rounds to even."""
    generator = np.random.default_rng(4)
    found = generator.integers(dtype.low, dtype.high, 40_000, dtype=dtype.numpy, endpoint=True)
    found >>= generator.integers(0, 63, 40_000).astype(dtype.numpy)
    ends = [0, 1, dtype.high, dtype.high - 1, 2**24 + 1, 2**25 + 1, 2**25 + 3, *(2**k + s for k in range(26, 63) for s in (-1, 0, 1))]
    return np.concatenate([found, np.array([*ends, dtype.low, dtype.low + 1], dtype.numpy)])


@pytest.mark.parametrize("real", [f32, f64], ids=str)
@pytest.mark.parametrize("dtype", [i64, u64], ids=str)
def test_64_bit_integers_become_floats(dtype, real):
    x = whole(dtype)
    same_bits(computed(lambda x: cast(x, real), x), x.astype(real.numpy))


@pytest.mark.parametrize("real", [f32, f64], ids=str)
@pytest.mark.parametrize("dtype", [i64, u64], ids=str)
def test_floats_become_64_bit_integers(dtype, real):
    with np.errstate(invalid="ignore"):
        x = np.concatenate([whole(dtype).astype(real.numpy), floats().astype(real.numpy),
                            np.array([2.0**63, -(2.0**63), 2.0**64, 2.0**65, -0.5, 0.5, 2.0**32 - 0.5], real.numpy)])
        same_bits(computed(lambda x: cast(x, dtype), x), convert(x, real, dtype))


@pytest.mark.parametrize("dtype", [i64, u64], ids=str)
def test_division_bit_by_bit(dtype):
    x = whole(dtype)
    y = np.roll(x, 12_345) >> np.random.default_rng(5).integers(0, 40, len(x)).astype(dtype.numpy)
    y[y == 0] = dtype.numpy.type(3)
    same_bits(computed(lambda x, y: binary("div", x, y), x, y), divide(x, y))
    same_bits(computed(lambda x, y: binary("mod", x, y), x, y), np.fmod(x, y))


def test_half_floats_are_compared_by_value():
    x, y = HALVES[::7].copy(), np.roll(HALVES, 20_000)[::7].copy()
    for op in ("lt", "le", "eq", "ne"):
        with np.errstate(invalid="ignore"):
            expected = {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal}[op](x, y)
        np.testing.assert_array_equal(computed(lambda x, y, op=op: compare(op, x, y), x, y), expected)
    np.testing.assert_array_equal(computed(lambda x: cast(x, bool_), x), x != 0)
    numbers = ~(np.isnan(x) | np.isnan(y))
    np.testing.assert_array_equal(computed(lambda x, y: binary("min", x, y), x, y)[numbers], np.minimum(x, y)[numbers])


def test_what_a_core_can_do_is_left():
    x = read(Buffer("x", f32, (4,), "input"), (var("i", 0, 3),))
    assert expand(cast(x, f16), frozenset({"cast.f16"}), True) is cast(x, f16)
    assert expand(cast(x, i64), frozenset({"i64"}), True) is cast(x, i64)
    assert expand(cast(x, bf16), frozenset({"cast.f16", "i64"}), True) is not cast(x, bf16)


@pytest.mark.parametrize("source", [t for t in DTYPES.values() if t not in (index, bool_)], ids=str)
def test_nothing_that_needs_a_library_remains(source):
    """Conversions between f32 and integers of up to 32 bits, and within integers, every core has."""
    x = read(Buffer("x", source, (4,), "input"), (var("i", 0, 3),))
    for target in DTYPES.values():
        for node in walk(expand(cast(x, target), PLAIN, False)) if target is not index else ():
            if node.op == "cast":
                pair = (node.args[0].dtype, node.dtype)
                assert not (set(pair) & {i64, u64} and any(t.is_float for t in pair))
                assert f16 not in pair and (bf16 not in pair or pair in ((bf16, f32), (bf16, bool_)))
