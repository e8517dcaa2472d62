"""The temperature of a network: how much surer it is than it should be.

A module of its own: trainings need nothing else of ``pawprint.evaluation.metrics``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from pawprint.runner.errors import DataError, ModelError

BOUNDS = (0.05, 20.0)


def fit_temperature(logits: NDArray[Any], y_true: NDArray[Any]) -> float:
    """The temperature in [0.05, 20] by which logits are divided for the least log loss.

    To be fitted on validation pictures, once training has ended. If every picture is right the
    log loss falls without end as the temperature does: there is nothing to fit, and the logits
    stay as they are (1.0).

    Args:
        logits: float32 or float64 [n, num_classes]: the network's outputs before softmax.
        y_true: int64 [n]: the index of the actual class of each picture.

    Raises:
        DataError: there is no picture.
        ModelError: a logit is not finite.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2.
    """
    if len(y_true) == 0:
        raise DataError("validation split: expected at least 1 picture, found 0; raise split.val")
    if not np.isfinite(logits).all():
        raise ModelError(
            "logits: expected finite values, found NaN or infinity; "
            "the training has diverged, lower its lr"
        )
    scores = logits.astype(np.float64)
    actual = scores[np.arange(len(y_true)), y_true]
    if (actual >= scores.max(axis=1)).all():
        return 1.0

    def loss_at(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(scores * scale, axis=1) - actual * scale).mean())

    # The log loss is convex in 1/T, so it has one minimum in ln(T) too.
    bounds = tuple(np.log(BOUNDS))
    found = minimize_scalar(loss_at, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return round(float(np.clip(np.exp(found.x), *BOUNDS)), 6)


def log_loss(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean negative log likelihood of labels int [n] under logits [n, c], in nats."""
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    log_norm = top[:, 0] + np.log(np.exp(logits - top).sum(-1))
    return float(np.mean(log_norm - logits[np.arange(len(labels)), labels]))
