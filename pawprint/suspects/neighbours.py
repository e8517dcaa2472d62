"""The pictures most like a suspect, whatever their label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SCORES = 2**24  # similarities at once: 64 MB


def find_neighbours(
    directions: np.ndarray, rows: Sequence[int], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows nearest to some, without themselves.

    Args:
        directions: float32 [n, d], of length 1.
        rows: k of them.
        count: how many neighbours of each; fewer if there are no more.

    Returns:
        Their rows, int64 [k, m], the most similar first, and the cosines, float32 [k, m].
    """
    most = min(count, len(directions) - 1)
    nearest = np.empty((len(rows), most), np.int64)
    cosines = np.empty((len(rows), most), np.float32)
    step = max(1, _SCORES // len(directions))
    for start in range(0, len(rows), step):
        own = np.array(rows[start : start + step], np.int64)
        found = directions[own] @ directions.T
        found[np.arange(len(own)), own] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :most]
        nearest[start : start + step] = order
        cosines[start : start + step] = np.take_along_axis(found, order, axis=1)
    return nearest, cosines
