"""Points of the charts that evaluation draws, and that DVC draws from its files.

``y_true``, ``y_pred`` and ``probs`` are those of metrics.py.
"""

from __future__ import annotations

import heapq

import numpy as np
from sklearn import metrics as sk

from pawprint.evaluation.metrics import Array, Row

MOST_CURVE_POINTS = 200


def _positives(y_true: Array, probs: Array) -> tuple[Array, Array]:
    """Labels and scores of the drawn curves: class 1, or all classes pooled (micro-average)."""
    if probs.shape[1] == 2:
        return y_true == 1, probs[:, 1]
    return (y_true[:, None] == np.arange(probs.shape[1])).ravel(), probs.ravel()


def roc_points(y_true: Array, probs: Array) -> list[Row]:
    """The ROC curve as rows of false_positive_rate and true_positive_rate, from 0 to 1.

    Two classes: class 1 is positive. More: the micro-average, in which each (picture, class)
    pair is one decision. At most 200 rows. Without positives or negatives: the diagonal.
    """
    positive, scores = _positives(y_true, probs)
    if positive.all() or not positive.any():
        x = y = np.array([0.0, 1.0])
    else:
        x, y, _ = sk.roc_curve(positive, scores)
    return _rows("false_positive_rate", "true_positive_rate", *_thin(x, y))


def precision_recall_points(y_true: Array, probs: Array) -> list[Row]:
    """The precision-recall curve as rows of recall and precision; else as ``roc_points``.

    Without positives or negatives: the level line at the share of positives.
    """
    positive, scores = _positives(y_true, probs)
    if positive.all() or not positive.any():
        x, y = np.array([0.0, 1.0]), np.full(2, positive.mean())
    else:
        y, x, _ = sk.precision_recall_curve(positive, scores, drop_intermediate=True)
        x, y = x[::-1], y[::-1]
    return _rows("recall", "precision", *_thin(x, y))


def _rows(x_name: str, y_name: str, x: Array, y: Array) -> list[Row]:
    return [
        {x_name: round(float(a), 6), y_name: round(float(b), 6)} for a, b in zip(x, y, strict=True)
    ]


def _thin(x: Array, y: Array) -> tuple[Array, Array]:
    """Keep the points that shape a curve most: 200 at the most, both ends among them.

    Source: Douglas and Peucker 1973, Cartographica 10, method 1, with the farthest point of all
    pieces taken next, until none is off by more than 1e-6 or the points are used up.
    """
    kept = [0, len(x) - 1]
    pieces: list[tuple[float, int, int, int]] = []

    def add(first: int, last: int) -> None:
        if last - first > 1:
            distance = _distances(x[first : last + 1], y[first : last + 1])
            farthest = int(distance.argmax())
            if distance[farthest] > 1e-6:
                heapq.heappush(pieces, (-distance[farthest], first, first + farthest, last))

    add(0, len(x) - 1)
    while pieces and len(kept) < MOST_CURVE_POINTS:
        _, first, middle, last = heapq.heappop(pieces)
        kept.append(middle)
        add(first, middle)
        add(middle, last)
    kept.sort()
    return x[kept], y[kept]


def _distances(x: Array, y: Array) -> Array:
    """Distance of each point from the straight line between the first and the last."""
    dx, dy = x[-1] - x[0], y[-1] - y[0]
    length = np.hypot(dx, dy)
    if length == 0:
        return np.hypot(x - x[0], y - y[0])
    return np.abs(dx * (y - y[0]) - dy * (x - x[0])) / length


def confusion_rows(y_true: Array, y_pred: Array, class_names: list[str]) -> list[dict[str, str]]:
    """One row per picture with the names of its actual and predicted class, for DVC."""
    return [
        {"actual": class_names[a], "predicted": class_names[p]}
        for a, p in zip(y_true, y_pred, strict=True)
    ]
