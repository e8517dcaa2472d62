"""The models by the labels that the test pictures came with, beside those after a review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pawprint.evaluation.markdown import markdown_table
from pawprint.evaluation.metrics import Array, short_scores

GONE = -1  # a class of which no picture is left: no model knows it, so each is wrong by it


def place_classes(names: Sequence[str], class_names: Sequence[str]) -> Array:
    """The place of each name among the classes, int64 [n]; ``GONE`` if it is none of them."""
    places = {name: place for place, name in enumerate(class_names)}
    return np.array([places.get(name, GONE) for name in names], np.int64)


def scores_as_came(
    y_source: Array, y_true: Array, predictions: Mapping[str, Array], confidence: float
) -> dict[str, Any] | None:
    """Scores by the labels before the review.

    Pictures that a decision dropped are in neither.

    Args:
        y_source: int64 [n], places of the classes that the test pictures came with; or ``GONE``.
        y_true: int64 [n], of those that they have now.
        predictions: model → probabilities, float32 [n, c].
        confidence: of the intervals.

    Returns:
        None if no picture was relabelled. Else {"relabelled": int, "models": {name: see
        ``metrics.short_scores``; without log loss where a class is gone}}.
    """
    relabelled = int((y_source != y_true).sum())
    if not relabelled:
        return None
    models = {
        name: short_scores(y_source, probs, confidence) for name, probs in predictions.items()
    }
    return {"relabelled": relabelled, "models": models}


def reviewed_text(found: Mapping[str, Any]) -> str:
    """Both side by side; empty if no test picture was relabelled.

    Args:
        found: what ``details`` returns, and ``as_came``.
    """
    came = found["as_came"]
    if came is None:
        return ""
    models = found["models"]
    now = [model["metrics"] for model in models.values()]
    before = list(came["models"].values())
    kinds = [("as they came", before), ("as reviewed", now)]
    rows = [[f"Accuracy, labels {kind}", *map(_accuracy, scores)] for kind, scores in kinds]
    rows += [[f"Log loss, labels {kind}", *map(_log_loss, scores)] for kind, scores in kinds]
    return (
        f"{came['relabelled']} of {found['pictures']} test pictures were relabelled in "
        "the file split.decisions; all other figures are by the labels as reviewed.\n\n"
        + markdown_table(["", *models], rows, aligned=True)
    )


def _accuracy(scores: Mapping[str, float]) -> str:
    low, high = 100 * scores["accuracy_low"], 100 * scores["accuracy_high"]
    return f"{100 * scores['accuracy']:.2f} % ({low:.2f} to {high:.2f})"


def _log_loss(scores: Mapping[str, float]) -> str:
    return f"{scores['log_loss']:.4f}" if "log_loss" in scores else "n/a"
