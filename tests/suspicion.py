"""Judged pictures, made of a few numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pawprint.data.manifest import Picture
from pawprint.suspects.pictures import NOT_IN_A_FOLD, JudgedPictures


def make_judged(
    labels: Sequence[int],
    *,
    paths: Sequence[str] | None = None,
    own: Sequence[float] | None = None,
    probs: np.ndarray | None = None,
    folds: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    directions: np.ndarray | None = None,
) -> JudgedPictures:
    """Cats, dogs and further classes; what is not given says nothing of any picture.

    Args:
        labels: of n pictures; 0 is a cat, 1 a dog.
        paths: by default ``cat/0.jpg`` and so on.
        own: of two classes, the probability of each picture's own.
        probs: float [n, c], instead of ``own``.
        folds: of each; ``NOT_IN_A_FOLD`` is a picture of test. By default 0, 0, 1, 1 and so on.
        groups: of near duplicates; by default each picture is its own.
        directions: float [n, d], of length 1; by default at right angles.
    """
    count, classes = len(labels), max(2, max(labels) + 1)
    names = ["cat", "dog", *(f"class{label}" for label in range(2, classes))]
    places = list(folds) if folds is not None else [row // 2 % 2 for row in range(count)]
    if probs is None:
        probs = np.full((count, classes), 1 / classes)
        if own is not None:
            rows = np.arange(count)
            probs[rows, labels], probs[rows, 1 - np.array(labels)] = own, 1 - np.array(own)
    pictures = [
        Picture(
            paths[row] if paths else f"{names[label]}/{row}.jpg",
            names[label],
            "test" if places[row] == NOT_IN_A_FOLD else "train",
            f"{row:064}",
            groups[row] if groups else str(row),
        )
        for row, label in enumerate(labels)
    ]
    return JudgedPictures(
        pictures,
        np.array(labels, np.int64),
        np.array(places, np.int64),
        (np.eye(count) if directions is None else directions).astype(np.float32),
        probs.astype(np.float32),
        names,
    )
