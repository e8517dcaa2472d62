"""The same picture with different labels: at least one of them is wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pawprint.storage.tables import printable
from pawprint.suspects.pictures import JudgedPictures
from pawprint.suspects.reasons import DUPLICATE, Reason
from pawprint.unlikeness.likeness import Likeness

_SCORES = 2**24  # distances at once: 64 MB
_SLACK = 1e-4  # of squared distances in float32
_TYPICAL = 1000  # pictures by which one knows how far apart others are
_TRIED = 20  # of those that may be near
_FAR = 50  # copies are as many times nearer than two pictures in general


@dataclass(frozen=True)
class Conflict:
    """A picture, and another one that is the same but for its label.

    Attributes:
        row: of the picture.
        other: row of the one that is most like it of those with another label.
        similarity: of both, the cosine of their features.
    """

    row: int
    other: int
    similarity: float


def find_conflicts(
    judged: JudgedPictures, likeness: Likeness, least_similarity: float
) -> list[Reason]:
    """Find near duplicates with different labels: those that stage split grouped, and those whose
    features are nearly the same.

    Of a group in which one label is that of more than half, the others are named; of others, all.

    Args:
        judged: n pictures.
        likeness: of these pictures, whose eigenvectors make the search quick.
        least_similarity: cosine of features; where all pictures of a data set are alike, more is
            asked for: to be 50 times nearer than two pictures in general.

    Returns:
        The most similar first.
    """
    directions, labels = judged.directions, judged.labels
    limit = min(2 - 2 * least_similarity, _typical_distance(directions) / _FAR)
    found = {c.row: c for c in _find_alike(directions, labels, likeness, limit)}
    members: dict[str, list[int]] = defaultdict(list)
    for row, picture in enumerate(judged.rows):
        members[picture.group].append(row)
    for rows in (np.array(rows) for rows in members.values() if len(rows) > 1):
        for row in _choose_doubtful(rows, labels):
            conflict = _nearest(directions, row, rows[labels[rows] != labels[row]])
            if row not in found or found[row].similarity < conflict.similarity:
                found[row] = conflict
    ranked = sorted(found.values(), key=lambda conflict: (-conflict.similarity, conflict.row))
    return [_describe(conflict, judged) for conflict in ranked]


def _choose_doubtful(rows: np.ndarray, labels: np.ndarray) -> list[int]:
    counts = Counter(labels[rows].tolist())
    label, count = counts.most_common(1)[0]
    most = label if 2 * count > len(rows) else None
    return [int(row) for row in rows if labels[row] != most and len(counts) > 1]


def _nearest(directions: np.ndarray, row: int, others: np.ndarray) -> Conflict:
    cosines = directions[others] @ directions[row]
    best = int(cosines.argmax())
    return Conflict(row, int(others[best]), float(cosines[best]))


def _find_alike(
    directions: np.ndarray, labels: np.ndarray, likeness: Likeness, limit: float
) -> Iterator[Conflict]:
    """Every picture that has one of another label within a squared distance of ``limit``.

    They are looked for in a few directions, in which no two are farther apart than in all.
    """
    lengths = np.linalg.norm(likeness.factors, axis=0)
    axes = (likeness.factors[:, lengths > 0] / lengths[lengths > 0]).astype(np.float32)
    places = (directions - likeness.mean.astype(np.float32)) @ axes
    squares = np.square(places).sum(axis=1)
    step = max(1, _SCORES // len(places))
    for start in range(0, len(places), step):
        rows = slice(start, start + step)
        distances = squares[rows, None] + squares - 2 * places[rows] @ places.T
        near = (distances < limit + _SLACK) & (labels[rows, None] != labels)
        for row in np.flatnonzero(near.any(axis=1)):
            others = np.flatnonzero(near[row])
            others = others[np.argsort(distances[row, others], kind="stable")[:_TRIED]]
            conflict = _nearest(directions, start + int(row), others)
            if 2 - 2 * conflict.similarity < limit:
                yield conflict


def _typical_distance(directions: np.ndarray) -> float:
    """The median squared distance of two pictures."""
    some = directions[:: max(1, len(directions) // _TYPICAL)]
    cosines = (some @ some.T)[np.triu_indices(len(some), 1)]
    return float(np.median(2 - 2 * cosines)) if len(cosines) else 0.0


def _describe(conflict: Conflict, judged: JudgedPictures) -> Reason:
    path, label = judged.rows[conflict.other].path, int(judged.labels[conflict.other])
    detail = f"like {printable(path)}, which is {judged.class_names[label]}"
    return Reason(conflict.row, DUPLICATE, detail, conflict.similarity, label)
