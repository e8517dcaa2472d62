"""Scores of out-of-fold predictions, with their standard errors.

Every picture is judged once, by the one head that has not seen it. The standard errors are over
pictures, or over groups where some belong together: how far the score over all pictures of this
kind may be from it, with these heads. The spread over the folds also holds how heads that were
trained on other pictures differ; a fold has few pictures, so it is the larger number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from pawprint.evaluation.metrics import check_predictions, picture_losses

DECIMALS_OF_SCORES = 6


def score_folds(
    y_true: np.ndarray,
    probs: np.ndarray,
    folds: np.ndarray,
    groups: np.ndarray,
    confidence: float,
    num_test: int,
) -> dict[str, Any]:
    """Accuracy and log loss of out-of-fold predictions.

    Args:
        y_true: int64 [n].
        probs: float32 [n, c].
        folds: int64 [n].
        groups: int64 [n]; equal where pictures belong together.
        confidence: of the intervals, in (0, 1).
        num_test: pictures of the test split; at least 1.

    Returns:
        For each ``score``, accuracy and log_loss: ``score``: its mean over all pictures;
        ``score_se``: its standard error; ``score_spread``: the standard deviation over the folds;
        ``score_interval``: [low, high], of what it would be over all pictures of this kind;
        ``score_on_test``: [low, high], in which that of the test split is expected, which has its
        own chance; ``score_folds``: of each fold. Besides: ``pictures``, ``groups``, ``folds``,
        ``test_pictures``: their numbers.
    """
    check_predictions(y_true, probs, "crossval")
    right = (probs.argmax(axis=1) == y_true).astype(np.float64)
    losses = picture_losses(y_true, probs)
    _, cluster = np.unique(groups, return_inverse=True)
    numbers = np.unique(folds)
    found: dict[str, Any] = {
        "pictures": len(y_true),
        "groups": int(cluster.max()) + 1,
        "folds": len(numbers),
        "test_pictures": num_test,
    }
    intervals = {"accuracy": share_interval, "log_loss": mean_interval}
    for name, values in {"accuracy": right, "log_loss": losses}.items():
        of_folds = [float(values[folds == fold].mean()) for fold in numbers]
        found[name] = _rounded(values.mean())
        found[f"{name}_se"] = _rounded(standard_error(values, cluster))
        found[f"{name}_spread"] = _rounded(np.std(of_folds, ddof=1))
        found[f"{name}_interval"] = intervals[name](values, cluster, confidence)
        found[f"{name}_on_test"] = intervals[name](values, cluster, confidence, num_test)
        found[f"{name}_folds"] = [_rounded(value) for value in of_folds]
    return found


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Of the mean of values that are independent between groups, and not within them.

    Where each value is a group of its own, this is the standard deviation over the root of n.
    Source: Liang and Zeger 1986, Biometrika 73, pages 13-22, for a mean; Miller 2024, Adding Error
    Bars to Evals, section 2.2.

    Args:
        values: float64 [n].
        groups: int64 [n], from 0 without gaps.

    Returns:
        0 if there is one group only: nothing can be said.
    """
    sums = np.bincount(groups, weights=values - values.mean())
    count = len(sums)
    if count < 2:
        return 0.0
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(values))


@dataclass(frozen=True)
class PairedMean:
    """A mean difference over pictures that two models both judged.

    Attributes:
        mean: of the differences.
        half: half of the width of its interval; infinite where the pictures do not allow one.
        p_value: of Student's test, two-sided; 1 where nothing can be said.
    """

    mean: float
    half: float
    p_value: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def is_told(self) -> bool:
        """Whether 0 is outside of the interval."""
        return abs(self.mean) > self.half


def paired_mean(differences: np.ndarray, groups: np.ndarray, confidence: float) -> PairedMean:
    """The mean difference, with Student's interval and test over groups.

    Source: Student 1908, Biometrika 6, pages 1-25; ``standard_error``.

    Args:
        differences: float64 [n], of the same pictures.
        groups: int64 [n], from 0 without gaps; equal where pictures belong together.
        confidence: of the interval, in (0, 1).
    """
    mean, error = float(differences.mean()), standard_error(differences, groups)
    if not differences.any():
        return PairedMean(0.0, 0.0, 1.0)
    if error == 0:  # one group, or all differences alike
        return PairedMean(mean, np.inf, 1.0)
    freedom = int(groups.max())
    half = float(student.ppf((1 + confidence) / 2, freedom) * error)
    return PairedMean(mean, half, float(2 * student.sf(abs(mean) / error, freedom)))


def number_groups(names: Iterable[str]) -> np.ndarray:
    """Names of groups, one a picture, as numbers from 0 without gaps: int64 [n]."""
    names = list(names)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def effective_size(values: np.ndarray, groups: np.ndarray) -> float:
    """How many pictures, each a group of its own, would tell the mean as surely as these.

    Source: Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3, pages 484-503.

    Args:
        values: float64 [n].
        groups: as of ``standard_error``.
    """
    alone, joint = standard_error(values, np.arange(len(values))), standard_error(values, groups)
    # All alike: nothing tells how alike the pictures of a group are
    return len(values) * min(1.0, (alone / joint) ** 2) if joint else float(groups.max()) + 1


def share_interval(
    values: np.ndarray, groups: np.ndarray, confidence: float, num_new: float = np.inf
) -> list[float]:
    """Wilson's interval of a share, of as many pictures as the groups are worth.

    The share among others differs by their own chance, too: the variances of both add up.
    Source: Wilson 1927, J. Am. Stat. Assoc. 22, pages 209-212; ``effective_size``.

    Args:
        values: float64 [n] of 0 and 1.
        groups: as of ``standard_error``.
        confidence: in (0, 1).
        num_new: of how many other pictures, each a group of its own, it is the share.
    """
    share = float(values.mean())
    worth = 1 / (1 / effective_size(values, groups) + 1 / num_new)
    z2 = norm.ppf((1 + confidence) / 2) ** 2
    middle = (share + z2 / (2 * worth)) / (1 + z2 / worth)
    half = np.sqrt(z2 * (share * (1 - share) / worth + z2 / (4 * worth**2))) / (1 + z2 / worth)
    return [_rounded(max(middle - half, 0.0)), _rounded(min(middle + half, 1.0))]


def mean_interval(
    values: np.ndarray, groups: np.ndarray, confidence: float, num_new: float = np.inf
) -> list[float]:
    """Student's interval of the mean of non-negative values; arguments as ``share_interval``'s."""
    freedom = max(1, int(groups.max()))
    error = np.hypot(standard_error(values, groups), values.std() / np.sqrt(num_new))
    half = student.ppf((1 + confidence) / 2, freedom) * error
    mean = float(values.mean())
    return [_rounded(max(mean - half, 0.0)), _rounded(mean + half)]


def _rounded(value: Any) -> float:
    return round(float(value), DECIMALS_OF_SCORES)
