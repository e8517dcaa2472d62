"""How good the best of many trials really is, without its luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def nested_loss(fold_losses: Sequence[Sequence[float]], fold_sizes: np.ndarray) -> float:
    """What choosing by these trials gives on pictures that did not choose.

    For each fold, the best trial is chosen by the other folds, and judged on this one. The lowest
    mean over all folds, of the trial that is chosen by all, is lower than that by luck.
    Source: Cawley & Talbot, On Over-fitting in Model Selection and Subsequent Selection Bias in
    Performance Evaluation (2010), section 5; Tibshirani & Tibshirani 2009, Annals of Applied
    Statistics 3, pages 822-829, who also choose by what is there.

    Args:
        fold_losses: [trials, k], the mean log loss of each fold.
        fold_sizes: int64 [k], pictures of each fold.

    >>> nested_loss([[0.1, 0.4], [0.3, 0.3]], np.array([10, 10]))
    0.35
    """
    losses = np.array(fold_losses, np.float64)
    total = losses @ fold_sizes
    others = total[:, None] - losses * fold_sizes
    chosen = losses[others.argmin(axis=0), np.arange(len(fold_sizes))]
    return float(chosen @ fold_sizes / fold_sizes.sum())
