"""The pictures that are least like the others, each compared with those of other folds."""

from __future__ import annotations

import numpy as np

from pawprint.suspects.pictures import JudgedPictures
from pawprint.suspects.reasons import UNLIKE, Reason
from pawprint.unlikeness.likeness import (
    Likeness,
    fit_likeness,
    measure_unlikeness,
    sum_moments,
)


def measure_pictures(judged: JudgedPictures) -> tuple[np.ndarray, Likeness]:
    """How unlike the others each picture is, and what pictures of train and val are like.

    A picture is nearer to a set that it belongs to, and so are its copies. So those of train and
    val are measured by the pictures of other folds, and those of test by all of train and val.

    Returns:
        Squared distances, float64 [n], and the fit on all of train and val.
    """
    directions, folds, learned = judged.directions, judged.folds, judged.is_learned
    moments = sum_moments(directions[learned])
    whole = fit_likeness(moments)
    distances = np.zeros(len(judged))
    for fold in np.unique(folds[learned]):
        own = directions[folds == fold]
        others = fit_likeness(moments.without(sum_moments(own)))
        distances[folds == fold] = measure_unlikeness(others, own)
    distances[~learned] = measure_unlikeness(whole, directions[~learned])
    return distances, whole


def find_strangers(distances: np.ndarray, share: float) -> list[Reason]:
    """The share of all pictures that is farthest from the others, the farthest first.

    Args:
        distances: squared, float64 [n].
        share: rounded down: of few pictures, none is listed.

    >>> [str(reason) for reason in find_strangers(np.array([1.0, 4.0, 4.0, 9.0]), 0.25)]
    ['unlike: 2.2 times the distance of the median picture']
    """
    times = distances / max(float(np.median(distances)), 1e-12)
    rows = np.argsort(-distances, kind="stable")[: int(share * len(distances))]
    detail = "times the distance of the median picture"
    return [Reason(int(r), UNLIKE, f"{times[r]:.1f} {detail}", float(times[r])) for r in rows]
