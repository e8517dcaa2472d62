"""Likely wrong labels: pictures of which a model that has not seen them says another class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pawprint.suspects.pictures import JudgedPictures
from pawprint.suspects.reasons import LABEL, Reason


@dataclass(frozen=True)
class DoubtedLabels:
    """What the probabilities say of the labels.

    Attributes:
        reasons: the pictures that are taken for another class, the surest first.
        expected: about how many labels are wrong; 0 where no picture contradicts its label as
            surely as most others agree with theirs.
        unjudged: pictures whose class no other fold has, so that no head could name it.
        judged: all others.
    """

    reasons: list[Reason]
    expected: int
    unjudged: int
    judged: int


def doubt_labels(judged: JudgedPictures) -> DoubtedLabels:
    """Rank by the probability of the own label, the lowest first.

    Source: Northcutt, Jiang and Chuang 2021, Confident Learning, section 3.2 (self-confidence); for
    the threshold of each class, equation 2, with a median instead of a mean.
    """
    probs, labels = judged.probs, judged.labels
    rows = np.arange(len(labels))
    own, said = probs[rows, labels], probs.argmax(axis=1)
    known = _could_be_known(judged)
    doubted = [
        Reason(
            int(row),
            LABEL,
            f"{judged.class_names[said[row]]} {probs[row, said[row]]:.3f}",
            1 - float(own[row]),
            int(said[row]),
        )
        for row in np.argsort(own, kind="stable")
        if known[row] and said[row] != labels[row]
    ]
    expected = estimate_wrong(probs[known], labels[known], judged.is_learned[known])
    return DoubtedLabels(doubted, expected, int((~known).sum()), int(known.sum()))


def estimate_wrong(probs: np.ndarray, labels: np.ndarray, is_learned: np.ndarray) -> int:
    """About how many labels are wrong.

    Half of the pictures with a right label have a probability of it above their class's median. So
    has half of those with a wrong label, of the class that they should have: they are counted, and
    taken twice. Hard pictures are seldom among them.

    Args:
        probs: float32 [n, c], by a model that has not seen the picture.
        labels: int64 [n].
        is_learned: bool [n]: the medians are of these.

    >>> probs = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3 + [[0.95, 0.05], [0.3, 0.7]])
    >>> estimate_wrong(probs, np.array([0, 0, 0, 1, 1, 1, 1, 0]), np.full(8, True))
    2
    """
    own, said = probs[np.arange(len(labels)), labels], probs.argmax(axis=1)
    usual = float(np.median(own[is_learned])) if is_learned.any() else 1.0
    medians = np.full(probs.shape[1], usual)
    for label in np.unique(labels[is_learned]):
        medians[label] = np.median(own[is_learned & (labels == label)])
    sure = (said != labels) & (probs.max(axis=1) >= medians[said])
    return 2 * int(sure.sum())


def _could_be_known(judged: JudgedPictures) -> np.ndarray:
    """Whether the head that judged a picture had others of its class to learn from, bool [n]."""
    known = np.ones(len(judged), bool)
    learned = judged.is_learned
    for label in np.unique(judged.labels):
        folds = np.unique(judged.folds[learned & (judged.labels == label)])
        if len(folds) == 1:
            known[learned & (judged.labels == label)] = False
    return known
