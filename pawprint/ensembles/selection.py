"""Which models join in, and with what weights: greedily, by the log loss on validation alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pawprint.evaluation.metrics import Array, picture_losses

_EQUAL = 1e-9  # nats: what lies closer differs by rounding


def choose_members(probs: Sequence[Array], y_true: Array, size: int) -> list[int]:
    """How often each model is picked for a mean of their probabilities.

    The first pick is the model with the lowest log loss, and each further one the model that lowers
    that of the mean most, or raises it least; a model may be picked again. Of all these means the
    best counts, and of equal ones that of fewer picks. The bagging of models, which the paper adds
    for libraries of thousands, is left out: here there are a few.

    Source: Caruana, Niculescu-Mizil, Crew & Ksikes, Ensemble selection from libraries of models
    (2004), sections 2 to 2.2: selection with replacement, sorted initialization.

    Args:
        probs: of each model, float [n, classes], of the validation pictures.
        y_true: int64 [n].
        size: how many picks at the most, 1 or more.

    Returns:
        The number of picks of each model.

    >>> a, b = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.4, 0.6], [0.8, 0.2]])
    >>> choose_members([a, b, np.full((2, 2), 0.5)], np.array([0, 0]), size=4)
    [2, 1, 0]
    """
    total = np.zeros_like(probs[0], dtype=np.float64)
    picks: list[int] = []
    losses: list[float] = []
    for count in range(1, size + 1):
        scores = [mean_loss((total + one) / count, y_true) for one in probs]
        picks.append(int(np.argmin(scores)))
        losses.append(min(scores))
        total += probs[picks[-1]]
    kept = picks[: int(np.argmax(np.array(losses) <= min(losses) + _EQUAL)) + 1]
    return [kept.count(i) for i in range(len(probs))]


def mean_loss(probs: Array, y_true: Array) -> float:
    """The log loss of probabilities [n, classes], in nats."""
    return float(picture_losses(y_true, probs).mean())
