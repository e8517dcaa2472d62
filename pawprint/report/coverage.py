"""How many pictures a model may decide alone, and how often it is then right.

A person takes those of which it is less sure. Source: Chow 1970, On optimum recognition error and
reject tradeoff, IEEE Transactions on Information Theory 16; the curve as in El-Yaniv and Wiener
2010, On the Foundations of Noise-free Selective Classification, JMLR 11, section 2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from pawprint.evaluation.metrics import Interval, wilson_interval
from pawprint.evaluation.predictions import Prediction


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


def coverage_curve(said: Collection[Prediction]) -> list[tuple[float, float]]:
    """(share of the pictures decided, accuracy on these), from the surest picture to all.

    Pictures of one probability are decided together.

    Args:
        said: what a model said of each picture, at least one.
    """
    ranked = sorted(said, key=lambda one: -one.probability)
    points, decided, right = [], 0, 0
    for _, group in groupby(ranked, key=lambda one: one.probability):
        together = list(group)
        decided += len(together)
        right += sum(one.correct for one in together)
        points.append((decided / len(ranked), right / decided))
    return points


def cover(
    said: Collection[Prediction], thresholds: Sequence[float], confidence: float
) -> list[Covered]:
    """What is decided at some thresholds; first at 0, where a model decides all.

    Args:
        said: what a model said of each picture, at least one.
        thresholds: in 0...1.
        confidence: of the intervals, which are Wilson's.
    """
    found = []
    for threshold in (0.0, *sorted(thresholds)):
        sure = [one for one in said if one.probability >= threshold]
        right = sum(one.correct for one in sure)
        found.append(
            Covered(
                threshold,
                len(sure),
                len(sure) / len(said),
                len(sure) - right,
                right / len(sure) if sure else None,
                wilson_interval(right, len(sure), confidence),
            )
        )
    return found
