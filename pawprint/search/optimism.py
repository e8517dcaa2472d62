"""How good the best of many trials really is: against the current settings, and for its luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pawprint.choosing.scores import standard_error


@dataclass(frozen=True)
class Gain:
    """By how much one log loss is below another, of the same pictures.

    Attributes:
        mean: above 0: better.
        low: the lower end of its interval.
        high: the upper one.
    """

    mean: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether all of the interval is better."""
        return self.low > 0


def paired_gain(
    before: np.ndarray, after: np.ndarray, groups: np.ndarray, confidence: float
) -> Gain:
    """The mean of the differences of pictures, with Student's interval over their groups.

    Args:
        before: log loss of each picture, float64 [n].
        after: the same of the other settings.
        groups: int64 [n], from 0 without gaps; equal where pictures belong together.
        confidence: of the interval, in (0, 1).
    """
    differences = before - after
    mean, error = float(differences.mean()), standard_error(differences, groups)
    half = float(student.ppf((1 + confidence) / 2, max(1, int(groups.max())))) * error
    return Gain(mean, mean - half, mean + half)


def nested_loss(fold_losses: Sequence[Sequence[float]], fold_sizes: np.ndarray) -> float:
    """What choosing by these trials gives on pictures that did not choose.

    For each fold, the best trial is chosen by the other folds, and judged on this one. The lowest
    mean over all folds, of the trial that is chosen by all, is lower than that by luck.
    Source: Cawley & Talbot, On Over-fitting in Model Selection and Subsequent Selection Bias in
    Performance Evaluation (2010), section 5; Tibshirani & Tibshirani 2009, Annals of Applied
    Statistics 3, pages 822-829, who also choose by what is there.

    Args:
        fold_losses: [trials, k], the mean log loss of each fold.
        fold_sizes: int64 [k], pictures of each fold.

    >>> nested_loss([[0.1, 0.4], [0.3, 0.3]], np.array([10, 10]))
    0.35
    """
    losses = np.array(fold_losses, np.float64)
    total = losses @ fold_sizes
    others = total[:, None] - losses * fold_sizes
    chosen = losses[others.argmin(axis=0), np.arange(len(fold_sizes))]
    return float(chosen @ fold_sizes / fold_sizes.sum())
