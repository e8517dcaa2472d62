"""How many pictures a model may decide alone, and how often it is then right.

A person takes those of which it is less sure. Source: Chow 1970, On optimum recognition error and
reject tradeoff, IEEE Transactions on Information Theory 16; the curve as in El-Yaniv and Wiener
2010, On the Foundations of Noise-free Selective Classification, JMLR 11, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pawprint.evaluation.metrics import Interval, wilson_interval


@dataclass(frozen=True)
class Covered:
    """What a model decides that must be as sure as a threshold.

    Attributes:
        threshold: the least probability of the predicted class, in 0...1.
        pictures: how many it decides.
        share: of all pictures, in 0...1.
        wrong: how many of them it decides wrongly.
        accuracy: of those that it decides; None if it decides none.
        bounds: the interval of that.
    """

    threshold: float
    pictures: int
    share: float
    wrong: int
    accuracy: float | None
    bounds: Interval


def coverage_curve(
    sure: np.ndarray, right: np.ndarray, accepted: np.ndarray | None = None
) -> list[tuple[float, float]]:
    """(share of the pictures decided, accuracy on these), from the surest picture to all.

    Pictures of one probability are decided together.

    Args:
        sure: float [n], the probability of the predicted class; n at least 1.
        right: bool [n], whether that class is the actual one.
        accepted: bool [n]; what is not accepted is never decided. None: all are accepted.
    """
    kept = np.flatnonzero(np.ones(len(sure), bool) if accepted is None else accepted)
    ranked = kept[np.argsort(-sure[kept], kind="stable")]
    ends = np.flatnonzero(np.diff(sure[ranked], append=-1.0))
    decided, hits = ends + 1, np.cumsum(right[ranked])[ends]
    pairs = zip(decided / len(sure), hits / decided, strict=True)
    return [(float(share), float(accuracy)) for share, accuracy in pairs]


def cover(
    sure: np.ndarray, right: np.ndarray, thresholds: Sequence[float], confidence: float
) -> list[Covered]:
    """What is decided at some thresholds; first at 0, where a model decides all.

    Args:
        sure, right: as in ``coverage_curve``.
        thresholds: in 0...1.
        confidence: of the intervals, which are Wilson's.
    """
    found = []
    for threshold in (0.0, *sorted(thresholds)):
        decided = sure >= threshold
        count, hits = int(decided.sum()), int((decided & right).sum())
        found.append(
            Covered(
                threshold,
                count,
                count / len(sure),
                count - hits,
                hits / count if count else None,
                wilson_interval(hits, count, confidence),
            )
        )
    return found
