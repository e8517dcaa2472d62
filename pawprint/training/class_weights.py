"""How much the pictures of each class weigh in the loss of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pawprint.runner.class_counts import check_class_weights
from pawprint.runner.params import TrainingParams


def weigh_classes(
    params: TrainingParams, section: str, labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray | None:
    """The weight of each class, float32 [c]; None: all pictures weigh the same.

    ``balanced`` is n / (c * n_k) for a class of n_k of the n training pictures: all classes then
    weigh the same, and the mean weight of a picture is 1.
    Source: scikit-learn's ``compute_class_weight``, after King & Zeng, Logistic Regression in Rare
    Events Data (2001).

    Args:
        params: the stage's section.
        section: its name, for the message.
        labels: int64 [n], of the training pictures.
        class_names: c names, in the order of the labels.

    Raises:
        ParamsError: there are not as many numbers as classes.
    """
    check_class_weights(params, section, class_names)
    weights = params.class_weights
    if weights == "none":
        return None
    if weights == "balanced":
        counts = np.bincount(labels, minlength=len(class_names))
        # One without pictures has no loss to be weighed
        return (len(labels) / (len(class_names) * np.maximum(counts, 1))).astype(np.float32)
    return np.array(weights, np.float32)
