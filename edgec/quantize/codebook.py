"""Codebooks: the few values that stand for all weights of a layer, by k-means in one dimension.

Lloyd's iteration (S. Lloyd, "Least squares quantization in PCM", 1982) on sorted weights, each weighing as much as its input does; channels
are divided by their largest weight first, so that they can share a book. S. Han, H. Mao, W. Dally, "Deep compression", arXiv:1510.00149.

    book = codebook(w, 16, importance);  book.real(book.codes(w))
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.reconstruction import Codebook

STEPS = 100


def codebook(w: np.ndarray, count: int, importance: np.ndarray | None = None) -> Codebook:
    """A book of at most `count` values for weights f64[K, outputs] with one scale an output; `importance`, of their shape, weighs them."""
    scale = largest(w)
    weigh = (1.0 if importance is None else importance + 1e-12) * np.broadcast_to(scale**2, w.shape)
    return Codebook(kmeans((w / scale).ravel(), weigh.ravel(), count), scale)


def largest(w: np.ndarray) -> np.ndarray:
    """The scale of each output, f64[..., 1, outputs]: its largest weight, 1 where all are 0."""
    scale = np.abs(w).max(-2, initial=0.0, keepdims=True)
    return np.where(scale > 0, scale, 1.0)


def kmeans(x: np.ndarray, weigh: np.ndarray, count: int) -> np.ndarray:
    """At most `count` values, ascending, with the least weighted square distance to x that Lloyd's iteration finds from its quantiles."""
    order = np.argsort(x, kind="stable")
    x, weigh = x[order], weigh[order]
    mass, moment = (np.concatenate([[0.0], np.cumsum(a)]) for a in (weigh, weigh * x))
    values = np.unique(np.quantile(x, (np.arange(count) + 0.5) / count))
    for _ in range(STEPS):
        ends = np.concatenate([[0], np.searchsorted(x, (values[1:] + values[:-1]) / 2), [len(x)]])
        share = np.diff(mass[ends])
        found = np.unique(np.where(share > 0, np.diff(moment[ends]) / np.where(share > 0, share, 1), values))
        if len(found) == len(values) and np.allclose(found, values, rtol=0, atol=1e-9):
            break
        values = found
    return values
