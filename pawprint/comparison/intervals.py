"""Differences between two models on the same pictures, with the uncertainty that belongs to each.

A difference is the second model minus the first. Shares and log losses are plain numbers, not per
cent; ``confidence`` in (0, 1) is the level of an interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from pawprint.choosing.scores import effective_size, paired_mean


def paired_share_interval(
    gained: NDArray[np.float64], groups: NDArray[np.int64], confidence: float
) -> tuple[float, float]:
    """The interval of a difference of two shares of right answers to the same pictures.

    Unlike the usual one, it does not shrink to a point where both models are right on the same
    pictures, and it covers the truth with few pictures too. Where pictures belong together, it is
    that of as many pictures as the groups are worth, with Student's factor for few groups.
    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, pages
    479-488; recommended by Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, pages
    2850-2875. Effective sample size: as of ``choosing.scores.share_interval``.

    Args:
        gained: float64 [n], n at least 1, of each picture: 1 if the second model alone has it
            right, -1 if the first alone has, else 0.
        groups: int64 [n], from 0 without gaps; equal where pictures belong together.
        confidence: of the interval.

    Returns:
        Low and high, within -1...1.
    """
    pictures, count = len(gained), int(groups.max()) + 1
    if count == 1 < pictures:
        return -1.0, 1.0
    worth = float(pictures)
    quantile = norm.ppf((1 + confidence) / 2)
    if count < pictures:
        worth = effective_size(gained, groups)
        quantile = student.ppf((1 + confidence) / 2, count - 1)
    only_first, only_second = ((gained == sign).mean() * worth for sign in (-1, 1))
    first, second = ((only + 1) / (worth + 2) for only in (only_first, only_second))
    difference = second - first
    half = quantile * np.sqrt((first + second - difference**2) / (worth + 2))
    return float(max(difference - half, -1.0)), float(min(difference + half, 1.0))


def paired_share_test(gained: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """The exact two-sided p-value of McNemar's test, whose coins are the groups.

    Were the models equal, what a group has gained could as well have been lost. Of pictures that
    are each a group of their own, this is McNemar's exact test.
    Source: Fisher 1935, The Design of Experiments, section 21, for signs of differences.

    Args:
        gained: as of ``paired_share_interval``.
        groups: likewise.

    Returns:
        In (0, 1], 6 significant digits; 1 if no group has gained or lost.
    """
    sums = np.rint(np.bincount(groups, weights=gained)).astype(int)
    most = int(np.abs(sums).sum())
    chances = np.zeros(2 * most + 1)  # of -most...most; what reaches beyond an end has chance 0
    chances[most] = 1.0
    for size in np.abs(sums[sums != 0]):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    far = np.abs(np.arange(-most, most + 1)) >= abs(int(sums.sum()))
    return float(f"{min(1.0, chances[far].sum()):.6g}")


def paired_mean_interval(
    differences: NDArray[np.float64], groups: NDArray[np.int64], confidence: float
) -> tuple[tuple[float, float] | None, float | None]:
    """Student's interval of a mean difference, and the two-sided p-value of its test.

    Args:
        differences: float64 [n], one a picture.
        groups: int64 [n], from 0 without gaps; equal where pictures belong together.
        confidence: of the interval.

    Returns:
        The interval, None where the pictures do not allow one; the p-value, None likewise, 1 where
        there is no difference at all.
    """
    if not differences.any():
        return None, 1.0
    found = paired_mean(differences, groups, confidence)
    return (None, None) if np.isinf(found.half) else ((found.low, found.high), found.p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of a family of tests, each raised so that one false alarm of all stays as rare.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, pages 65-70.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    raised: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        raised[i] = largest
    return raised
