"""The likeliest classes of a picture, as the command line and the server say them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Ranking = list[tuple[str, float]]  # (class, probability), the likeliest first


def rank_classes(probs: np.ndarray, class_names: Sequence[str], top: int) -> Ranking:
    """The likeliest classes of one picture.

    Probabilities keep just the digits that tell them from other float32 numbers. A mean of several
    models may be above 1 by its last bit, which no answer is.

    Args:
        probs: float32 [classes].
        class_names: of each.
        top: how many are wanted; there may be fewer.

    >>> rank_classes(np.array([0.1, 0.7, 0.2], np.float32), ["cat", "dog", "owl"], 2)
    [('dog', 0.7), ('owl', 0.2)]
    >>> rank_classes(np.array([0, 1.0000001], np.float32), ["cat", "dog"], 1)
    [('dog', 1.0)]
    """
    order = np.argsort(-probs, kind="stable")[:top]
    return [(class_names[i], min(float(str(probs[i])), 1.0)) for i in order]
