"""How unlike a set of pictures another picture is: a distance in the features of a frozen network.

Of a feature vector only the direction counts, z = f / |f|. The directions of the set have a mean
and a covariance, of which the largest eigenvalues are kept, and all others are replaced by their
mean: one Gaussian, in whose Mahalanobis distance the few directions in which pictures differ much
count less than all the others. It knows no classes.

Source: Mueller and Hein 2025, Mahalanobis++ (arXiv 2505.18032), for the directions; Tipping and
Bishop 1999, Probabilistic Principal Component Analysis, equations 7 and 8, for the covariance of
low rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

RANK, SMALL_RANK = 64, 32
_LEAST = 1e-9  # a variance: below, it is the rounding of float32
_ROWS = 4096  # whose products are summed in float32; the sums of these are float64


@dataclass(frozen=True)
class Moments:
    """Sums over the directions of a set of pictures, of d numbers each.

    Attributes:
        count: of pictures.
        total: float64 [d], the sum of the directions.
        products: float64 [d, d], the sum of their outer products with themselves.
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        """Those of both sets together."""
        return Moments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    def without(self, part: Moments) -> Moments:
        """Those of the pictures that are not in a part of the set."""
        return Moments(
            self.count - part.count, self.total - part.total, self.products - part.products
        )


@dataclass(frozen=True)
class Likeness:
    """What is kept of a set of pictures: with r directions of d numbers.

    The squared distance of a direction z is |z - mean|² / residual - |factorsᵀ (z - mean)|².

    Attributes:
        mean: float64 [d], of the directions z.
        factors: float64 [d, r], eigenvectors times √(1 / residual - 1 / eigenvalue).
        residual: the mean of the d - r eigenvalues that are not kept; above 0.
    """

    mean: np.ndarray
    factors: np.ndarray
    residual: float


def sum_moments(features: np.ndarray) -> Moments:
    """The sums of a set of pictures, float [n, d], n at least 1."""
    directions = to_directions(features)
    width = directions.shape[1]
    products = np.zeros((width, width))
    for start in range(0, len(directions), _ROWS):
        rows = directions[start : start + _ROWS]
        products += rows.T @ rows
    return Moments(len(directions), directions.sum(axis=0, dtype=np.float64), products)


def fit_likeness(moments: Moments, rank: int | None = None) -> Likeness:
    """Fit the Gaussian of a set of pictures.

    Args:
        moments: of the set.
        rank: r, how many eigenvalues are kept; by default ``choose_rank``.
    """
    width, mean = len(moments.total), moments.total / moments.count
    covariance = moments.products / moments.count - np.outer(mean, mean)
    kept = min(choose_rank(moments.count) if rank is None else rank, width - 1)
    values, vectors = eigh(covariance, subset_by_index=[width - kept, width - 1])
    total = float(np.trace(covariance))
    # Where all pictures lie in a few directions, the rest is 0 but for rounding
    residual = max((total - float(values.sum())) / (width - kept), _LEAST)
    gains = np.sqrt(np.maximum(1 / residual - 1 / np.maximum(values, residual), 0))
    return Likeness(mean, vectors * gains, residual)


def measure_unlikeness(likeness: Likeness, features: np.ndarray) -> np.ndarray:
    """Squared distances from the set, float64 [n]; 0 is its mean, and larger is more unlike.

    Args:
        likeness: of the set; its pictures themselves are nearer than others of their kind.
        features: float [n, d].
    """
    centred = to_directions(features) - likeness.mean
    explained = np.square(centred @ likeness.factors).sum(axis=1)
    return np.maximum(np.square(centred).sum(axis=1) / likeness.residual - explained, 0)


def average_map(features: np.ndarray, channels: int) -> np.ndarray:
    """The mean over the places of a map, float32 [n, channels].

    Args:
        features: float32 [n, height * width * channels], as with ``model.pooling: flatten``; with
            ``avg`` [n, channels], which stay as they are.
    """
    maps = features.reshape(len(features), -1, channels)
    return maps.mean(axis=1) if maps.shape[1] > 1 else maps[:, 0]


def to_directions(features: np.ndarray) -> np.ndarray:
    """Features over their Euclidean length, float32 [n, d]; a row of zeros stays one.

    >>> to_directions(np.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def choose_rank(count: int) -> int:
    """How many eigenvalues a set of so many pictures allows to tell.

    >>> [choose_rank(count) for count in (3, 40, 200, 256, 10_000)]
    [1, 10, 32, 64, 64]
    """
    if count >= 4 * RANK:
        return RANK
    return max(1, min(SMALL_RANK, count // 4))
