"""Chooses pictures that a model is unsure of and that are unlike each other."""

from __future__ import annotations

import numpy as np


def choose_diverse(features: np.ndarray, probs: np.ndarray, count: int, seed: int) -> list[int]:
    """Choose pictures by k-means++ on the gradients that their labels would bring.

    If the likeliest class were the label, the gradient of the last layer would be the product of
    the features and of (probabilities - label): long where the model is unsure, and of another
    direction for another picture. The longest comes first; each further one is drawn with a
    probability by the square of its distance to the nearest that was chosen, so that a copy of a
    chosen picture is never drawn.

    Source: Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds
    (2020), algorithm 1. The products are never written out: the distances follow from those of the
    two factors.

    Args:
        features: float32 [n, d].
        probs: float32 [n, classes].
        count: how many to choose, at most.
        seed: of the draws.

    Returns:
        Rows in the order in which they were chosen: all of them where there are no more than
        ``count``; fewer where all others are equal to chosen ones.
    """
    errors = probs.astype(np.float64)
    errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
    features = features.astype(np.float32)
    lengths = (errors**2).sum(axis=1) * np.einsum("nd,nd->n", features, features)
    rng, chosen = np.random.default_rng(seed), [int(lengths.argmax())]
    nearest = _distances(features, errors, lengths, chosen[0])
    while len(chosen) < min(count, len(features)):
        places = np.cumsum(nearest)
        if not places[-1] > 0:
            break
        chosen.append(int(np.searchsorted(places, rng.random() * places[-1], side="right")))
        nearest = np.minimum(nearest, _distances(features, errors, lengths, chosen[-1]))
    return chosen


def _distances(
    features: np.ndarray, errors: np.ndarray, lengths: np.ndarray, row: int
) -> np.ndarray:
    """Squared distances of all gradients from one, float64 [n]; what is below rounding is 0."""
    products = (features @ features[row]) * (errors @ errors[row])
    found = lengths + lengths[row] - 2 * products
    found[found < 1e-5 * (lengths + lengths[row])] = 0
    found[row] = 0
    return found
