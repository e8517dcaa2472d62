"""What a model knows of its training pictures: fitted on these, its threshold on validation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

import numpy as np

from pawprint.unlikeness.likeness import (
    Likeness,
    choose_rank,
    fit_likeness,
    measure_unlikeness,
    sum_moments,
)

# Of an ensemble's ratio. Where it would be smaller, its members' thresholds are those of
# LEAST_DISTANCE, and it would make much of what is rounding in them
LEAST_THRESHOLD = 0.1
# Euclidean, between directions: nearer ones are told apart by the rounding of float32, and each
# exported format rounds in its own way
LEAST_DISTANCE = 0.01


@dataclass(frozen=True)
class Unlikeness:
    """The ratio d / t of a picture: its squared distance from the training pictures, over t.

    Attributes:
        likeness: of the training pictures; d is its squared distance.
        threshold: t, above 0.
        pictures: of training and of validation, by which both were found.
    """

    likeness: Likeness
    threshold: float
    pictures: tuple[int, int]

    def describe(self, reject: float) -> str:
        """One line for the user; a second one where validation has too few pictures.

        Args:
            reject: the wanted share of rejected pictures.
        """
        train, val = self.pictures
        line = (
            f"unlike the training pictures is what {reject:.3g} of {val:,} validation pictures "
            f"exceed; the fit: {train:,} training pictures, rank {self.likeness.factors.shape[1]}"
        )
        return "\n".join(filter(None, [line, warn_of_few(val, reject)]))


def fit_unlikeness(
    train: Iterable[np.ndarray],
    val: Iterable[np.ndarray],
    rank: int | Literal["auto"],
    reject: float,
) -> Unlikeness:
    """Fit the Gaussian of the training pictures, and the threshold on those of validation.

    Training pictures are nearer to their own fit than others of their kind: a threshold from them
    would reject too many.

    Args:
        train: features of the training pictures, float [k, d] at a time.
        val: the same of validation; at least one picture each.
        rank: eigenvalues that are kept, at most d - 1; auto: ``choose_rank``.
        reject: the wanted share of rejected pictures, in 0...1.
    """
    moments = reduce(add, (sum_moments(batch) for batch in train))
    kept = choose_rank(moments.count) if rank == "auto" else rank
    likeness = fit_likeness(moments, kept)
    distances = np.concatenate([measure_unlikeness(likeness, batch) for batch in val])
    threshold = max(find_threshold(distances, reject), LEAST_DISTANCE**2 / likeness.residual)
    return Unlikeness(likeness, threshold, (moments.count, len(distances)))


def find_threshold(distances: np.ndarray, reject: float) -> float:
    """The distance that a further picture of the same kind exceeds with a wanted probability.

    It is the ⌈(n + 1)(1 - reject)⌉-th smallest one. Where n is too small for that, it is the
    largest one, which 1 / (n + 1) of further pictures exceed.

    Source: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005), section 4.2, in
    its split form: Papadopoulos et al., Inductive Confidence Machines for Regression (2002).

    Args:
        distances: float [n] of pictures that the fit has not seen; n at least 1.
        reject: the wanted probability, in 0...1.

    >>> find_threshold(np.arange(1.0, 100.0), 0.01), find_threshold(np.arange(1.0, 100.0), 0.1)
    (99.0, 90.0)
    >>> find_threshold(np.array([3.0, 1.0, 2.0]), 0.01)
    3.0
    """
    # A share such as 0.01 is no binary number: 100 * (1 - 0.01) must not become 99.00...01
    place = math.ceil(round((len(distances) + 1) * (1 - reject), 9))
    return float(np.sort(distances)[min(max(place, 1), len(distances)) - 1])


def warn_of_few(pictures: int, reject: float) -> str:
    """A warning where validation has too few pictures for the wanted share; else nothing.

    >>> warn_of_few(99, 0.01)
    ''
    >>> warn_of_few(49, 0.01)  # doctest: +ELLIPSIS
    'warning: unlikeness.reject: 0.01 needs 99 validation pictures, found 49: about 0.02 of ...'
    """
    needed = math.ceil(round(1 / reject, 9)) - 1
    if pictures >= needed:
        return ""
    return (
        f"warning: unlikeness.reject: {reject:g} needs {needed:,} validation pictures, found "
        f"{pictures:,}: about {1 / (pictures + 1):.2g} of further pictures are rejected; raise it, "
        "or split.val"
    )
