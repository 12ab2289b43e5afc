"""Random numbers and n-grams: formulas against references, and what is drawn is what was asked for."""

import numpy as np
import pytest

from edgec.errors import TypeMismatch
from edgec.evaluate import evaluate_op
from edgec.graph import graph_input, run_reference
from edgec.ops.machine_learning import ArrayFeatureExtractor, Binarizer, TfIdfVectorizer
from edgec.ops.random_numbers import Multinomial, RandomNormal, RandomNormalLike, RandomUniform, RandomUniformLike
from edgec.types import TensorType, f32, i32, i64

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("cls, attributes", [(RandomUniform, {"low": -2.0, "high": 3.0}), (RandomNormal, {"mean": 1.0, "scale": 2.0})])
def test_drawn(cls, attributes):
    op = cls(shape=(40, 50), seed=3.0, **attributes)
    expected, = run_reference(op, [])
    np.testing.assert_allclose(evaluate_op(op, [])[0], expected, rtol=1e-4, atol=1e-4)
    mean, deviation = {RandomUniform: (0.5, 5 / 12**0.5), RandomNormal: (1.0, 2.0)}[cls]
    assert abs(expected.mean() - mean) < 0.15 and abs(expected.std() - deviation) < 0.1
    assert len(np.unique(expected)) > 1990 and (run_reference(cls(shape=(40, 50), seed=4.0, **attributes), [])[0] != expected).any()


def test_like_and_multinomial(check):
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    check(RandomUniformLike, [x], oracle=False, seed=1.0, dtype=11)
    check(RandomNormalLike, [x], oracle=False, seed=1.0, magnitude=100)
    drawn, = check(Multinomial, [np.log(np.float32([[0.2, 0.8]]))], oracle=False, sample_size=1000)
    assert abs(drawn.mean() - 0.8) < 0.05


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("shape", [(12,), (2, 6)])
def test_n_grams(check, mode, shape):
    x = RNG.integers(2, 7, shape).astype(np.int32)
    check(TfIdfVectorizer, [x], mode=mode, min_gram_length=1, max_gram_length=2, max_skip_count=2, ngram_counts=(0, 4),
          ngram_indexes=(0, 1, 2, 3, 4, 5, 6), pool_int64s=(2, 3, 5, 4, 5, 6, 7, 8, 6, 7), weights=(1.0, 2.0, 0.5, 3.0, 1.0, 2.0, 4.0))


def test_features(check):
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    check(Binarizer, [x], domain="ai.onnx.ml", oracle=False, threshold=0.5)
    assert run_reference(ArrayFeatureExtractor(*(graph_input(n, TensorType(t, s)) for n, t, s in (("x", f32, (3, 4)), ("y", i64, (2,))))),
                         [x, np.array([3, 0])])[0].tolist() == x[:, [3, 0]].tolist()


def test_errors():
    with pytest.raises(TypeMismatch, match="cannot be i32"):
        RandomUniform(shape=(2,), dtype=6)
    with pytest.raises(TypeMismatch, match="one or two axes of string, it is i32"):
        TfIdfVectorizer(graph_input("w", TensorType(i32, (2,))), 1, 0, 1, "TF", (0,), (0,), pool_strings=("a",))
