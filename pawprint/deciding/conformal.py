"""Sets of classes that hold the actual one with a stated probability (conformal prediction).

Half of the validation pictures set the temperature, by which probabilities are made milder or
stronger, and the other half sets how improbable a class of the set may be. The trainings set the
temperature of a model on all of validation; fitted anew on one half, it no longer depends on the
other one, since the probabilities of a model tell its logits but for a constant.

Source: Sadinle, Lei and Wasserman 2019, Least Ambiguous Set-Valued Classifiers with Bounded Error
Levels, Journal of the American Statistical Association 114.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pawprint.training.temperature import fit_temperature

_LEAST = 1e-30  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class ClassSets:
    """How the set of a picture is made.

    Attributes:
        wanted: the share of sets that hold the actual class, in (0, 1).
        temperature: logarithms of probabilities are divided by it first.
        least: a class is in the set if it is then at least so probable.
        pictures: that set ``least``.
    """

    wanted: float
    temperature: float
    least: float
    pictures: int

    def contain(self, probs: np.ndarray) -> np.ndarray:
        """Which classes are in the sets of pictures: bool [n, c] of probabilities float32 [n, c]"""
        return soften(probs, self.temperature) >= self.least


def fit_sets(
    probs: np.ndarray, labels: np.ndarray, apart: np.ndarray, wanted: float
) -> ClassSets | None:
    """Fit the sets to validation pictures; None if there are too few of them.

    Args:
        probs: float32 [n, c].
        labels: int64 [n].
        apart: bool [n], the pictures that set ``least``; the others set the temperature. See
            ``halve``.
        wanted: the share of sets that are to hold the actual class, in (0, 1).
    """
    count = int(apart.sum())
    rank = math.ceil((count + 1) * wanted)
    if rank > count or count == len(labels):
        return None
    logits = np.log(np.maximum(probs[~apart].astype(np.float64), _LEAST))
    temperature = fit_temperature(logits, labels[~apart])
    actual = soften(probs[apart], temperature)[np.arange(count), labels[apart]]
    return ClassSets(wanted, temperature, float(np.sort(actual)[count - rank]), count)


def soften(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature, float64 [n, c].

    >>> soften(np.array([[0.8, 0.2]]), 2.0).round(4).tolist()
    [[0.6667, 0.3333]]
    """
    powers = np.maximum(probs.astype(np.float64), _LEAST) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def halve(names: Sequence[str]) -> np.ndarray:
    """Which of the names are in one of two halves, bool [n]: by a hash of each, whatever the others

    >>> halve(["1.jpg", "2.jpg", "3.jpg", "1.jpg"]).tolist()
    [True, False, False, True]
    """
    digests = (
        hashlib.sha256(f"halves\0{name}".encode("utf-8", "surrogateescape")) for name in names
    )
    return np.array([digest.digest()[0] % 2 == 1 for digest in digests], bool)
