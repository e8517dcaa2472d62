"""Which models join in, and with what weights: greedily, by the log loss on validation alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from pawprint.evaluation.metrics import Array, picture_losses
from pawprint.training.temperature import BOUNDS

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


def weighted_mean(
    logits: Sequence[Array], shares: Sequence[float], temperature: float = 1.0
) -> Array:
    """The mean of what models say, float64 [n, classes]; logits [n, classes] become probabilities.

    Args:
        logits: of each model.
        shares: its weight.
        temperature: by which the logits of all of them are divided.
    """
    parts = [softmax(one.astype(np.float64) / temperature, axis=1) for one in logits]
    return sum(share * part for share, part in zip(shares, parts, strict=True))


def fit_joint_temperature(logits: Sequence[Array], shares: Sequence[float], y_true: Array) -> float:
    """The temperature of all members by which the log loss of their mean is lowest.

    Each is calibrated for itself, and a mean of calibrated models is less sure than it should be. A
    temperature of the members, unlike one of the mean, goes into the weights that they have.

    Source: Rahaman & Thiery, Uncertainty quantification and deep ensembles (2021), section 3.

    Args:
        logits: of each member, float [n, classes], of the validation pictures.
        shares: their weights in the mean.
        y_true: int64 [n].

    Returns:
        In the bounds of ``pawprint.training.temperature``; 1 if all pictures are right, where the
        log loss falls without end.
    """
    probs = weighted_mean(logits, shares)
    if (probs[np.arange(len(y_true)), y_true] >= probs.max(axis=1)).all():
        return 1.0
    found = minimize_scalar(
        lambda log_t: mean_loss(weighted_mean(logits, shares, np.exp(log_t)), y_true),
        bounds=tuple(np.log(BOUNDS)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return round(float(np.exp(found.x)), 6)
