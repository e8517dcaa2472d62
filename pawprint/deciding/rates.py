"""Shares of pictures: accepted as like the training pictures, or rejected, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from pawprint.evaluation.metrics import wilson_interval


def describe_share(hits: int, count: int, name: str, confidence: float) -> dict[str, Any]:
    """A share with its interval: name, low, high (None without pictures), pictures.

    Args:
        hits: how many pictures.
        count: of all.
        name: what the share is called.
        confidence: of the interval, which is Wilson's.
    """
    low, high = wilson_interval(hits, count, confidence) or (None, None)
    share = round(hits / count, 6) if count else None
    return {name: share, "low": low, "high": high, "pictures": count}


def describe_others(
    unlikeness: Mapping[str, np.ndarray], most: float, confidence: float
) -> dict[str, dict[str, Any]]:
    """Of pictures of no class, the share that is accepted all the same, by subfolder.

    Args:
        unlikeness: subfolder → float32 [n].
        most: up to which a picture is accepted.
        confidence: of the intervals.
    """
    return {
        name: describe_share(int((found <= most).sum()), len(found), "accepted", confidence)
        for name, found in sorted(unlikeness.items())
    }


def separation(known: np.ndarray, others: np.ndarray) -> float | None:
    """How often another picture is more unlike than one of the classes (ROC AUC), in 0...1.

    Args:
        known: float32 [n], unlikeness of pictures of the classes.
        others: float32 [m], of pictures of no class; None is the answer without one of either.
    """
    if not len(known) or not len(others):
        return None
    y_true = np.repeat([0, 1], [len(known), len(others)])
    return round(float(roc_auc_score(y_true, np.concatenate([known, others]))), 6)
