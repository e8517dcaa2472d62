"""Differences between two models on the same pictures, with the uncertainty that belongs to each.

A difference is the second model minus the first. Shares and log losses are plain numbers, not per
cent; ``confidence`` in (0, 1) is the level of an interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pawprint.choosing.scores import paired_mean


def paired_share_interval(
    only_first: int, only_second: int, pictures: int, confidence: float
) -> tuple[float, float]:
    """The interval of a difference of two shares of right answers to the same pictures.

    Unlike the usual one, it does not shrink to a point where both models are right on the same
    pictures, and it covers the truth with few pictures too.
    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, pages
    479-488; recommended by Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, pages
    2850-2875.

    Args:
        only_first: pictures that the first model alone has right.
        only_second: that the second alone has right.
        pictures: all of them, at least 1.
        confidence: of the interval.

    Returns:
        Low and high, within -1...1.
    """
    first, second = ((only + 1) / (pictures + 2) for only in (only_first, only_second))
    difference = second - first
    spread = np.sqrt((first + second - difference**2) / (pictures + 2))
    half = float(norm.ppf((1 + confidence) / 2) * spread)
    return max(difference - half, -1.0), min(difference + half, 1.0)


def grouped_share_interval(
    gained: NDArray[np.float64], groups: NDArray[np.int64], confidence: float
) -> tuple[tuple[float, float], float]:
    """The same where pictures belong together, and the p-value: Student's, over groups.

    Args:
        gained: float64 [n], of each picture: 1 if the second model alone has it right, -1 if the
            first alone has, else 0.
        groups: int64 [n], from 0 without gaps; equal where pictures belong together.
        confidence: of the interval.
    """
    found = paired_mean(gained, groups, confidence)
    if not gained.any():  # groups of which none has changed
        return paired_share_interval(0, 0, int(groups.max()) + 1, confidence), 1.0
    return (max(found.low, -1.0), min(found.high, 1.0)), found.p_value


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
