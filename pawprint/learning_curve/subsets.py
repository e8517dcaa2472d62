"""Which of the pictures a smaller training has: nested, groups whole, classes even."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pawprint.choosing.folds import assign_folds
from pawprint.runner.errors import DataError
from pawprint.runner.params import CrossvalParams

LEAST_PICTURES = 50  # of a subset: of fewer, chance alone is told
_LEAST_OF_CLASS = 2
_SMALLEST_SHARE = 1 / 32  # smaller ones take too few steps to follow the law of the others
_LARGEST_START = 1 / 4  # the smallest subset, as a share of all: a law needs sizes that differ


@dataclass(frozen=True)
class Run:
    """The head without one fold, once for each size.

    Attributes:
        seed: counted from 0.
        fold: counted from 0.
        held_out: int64 [h], the rows of the fold.
        rows: int64 [m], all others.
        joins: float64 [m]: the subset of share q has the rows whose number is at most q.
    """

    seed: int
    fold: int
    held_out: np.ndarray
    rows: np.ndarray
    joins: np.ndarray

    def subset(self, share: float) -> np.ndarray:
        """The rows that a share of the pictures has, int64, ascending."""
        return self.rows[self.joins <= share]


@dataclass(frozen=True)
class Plan:
    """All trainings of a learning curve.

    Attributes:
        runs: of each seed, and of each of its folds.
        shares: s of them, ascending; the last is 1: all pictures but those of the fold.
        sizes: int64 [s], the training pictures of a head, as a mean over the runs.
    """

    runs: list[Run]
    shares: list[float]
    sizes: np.ndarray

    @property
    def seeds(self) -> int:
        return 1 + max(run.seed for run in self.runs)


def plan_curve(
    labels: np.ndarray,
    groups: Sequence[str],
    class_names: Sequence[str],
    params: CrossvalParams,
    seeds: int,
    num_sizes: int,
) -> Plan:
    """Choose folds and subsets.

    The folds of the first seed are those of stage crossval; others have other folds, so that the
    spread over the seeds also holds which pictures one happens to have.

    Args:
        labels: int64 [n].
        groups: of each picture, the name of what must stay together.
        class_names: in the order of the labels.
        params: how many folds, and the first one's seed.
        seeds: r, at least 2.
        num_sizes: s; from the smallest to all, each is larger by the same factor.

    Raises:
        DataError: there are too few pictures.
    """
    runs = []
    for seed in range(seeds):
        of_seed = params.model_copy(update={"seed": params.seed + seed})
        folds = assign_folds(labels, groups, of_seed, len(class_names))
        for fold in range(params.folds):
            rows = np.flatnonzero(folds != fold)
            names = [groups[row] for row in rows.tolist()]
            joins = order_pictures(labels[rows], names, f"{params.seed + seed}:{fold}")
            runs.append(Run(seed, fold, np.flatnonzero(folds == fold), rows, joins))
    smallest = max(_SMALLEST_SHARE, *(_least_share(run, labels) for run in runs))
    if smallest > _LARGEST_START:
        counts = np.bincount(labels, minlength=len(class_names))
        fewest = int(counts.argmin())
        raise DataError(
            "learning-curve: expected a quarter of each fold's training pictures to be at least "
            f"{LEAST_PICTURES}, {_LEAST_OF_CLASS} of each class; found {len(labels):,} pictures in "
            f"train and val, {counts[fewest]:,} of them of {class_names[fewest]}; add pictures"
        )
    shares = [float(share) for share in np.geomspace(smallest, 1, num_sizes)]
    shares[-1] = 1.0
    sizes = [np.mean([len(run.subset(share)) for run in runs]).round() for share in shares]
    return Plan(runs, shares, np.array(sizes, np.int64))


def order_pictures(labels: np.ndarray, groups: Sequence[str], key: str) -> np.ndarray:
    """At which share of the pictures each one joins, float64 [m] in (0, 1).

    In each class, the groups come in the order of a keyed hash of their names; a group with several
    classes counts among that of most of its pictures. So every subset has the classes in their
    shares, as nearly as the groups allow, a larger one holds every smaller one, and the order of
    the pictures does not matter.

    Args:
        labels: int64 [m].
        groups: the name of each picture's group.
        key: another one gives another order.

    >>> order_pictures(np.array([0, 0, 1, 1]), ["a", "a", "b", "c"], "").tolist()
    [0.5, 0.5, 0.25, 0.75]
    """
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    of_class: dict[int, list[str]] = defaultdict(list)
    for group, rows in members.items():
        counts = Counter(int(labels[row]) for row in rows)
        of_class[min(counts, key=lambda label: (-counts[label], label))].append(group)
    joins = np.empty(len(labels), np.float64)
    for names in of_class.values():
        names.sort(key=lambda group: hashlib.sha256(f"{key}:{group}".encode()).digest())
        sizes = np.array([len(members[group]) for group in names])
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        for group, middle in zip(names, middles.tolist(), strict=True):
            joins[members[group]] = middle
    return joins


def _least_share(run: Run, labels: np.ndarray) -> float:
    """The smallest share of a run that has enough pictures, and enough of each class."""
    needed = [np.sort(run.joins)[LEAST_PICTURES - 1] if len(run.rows) >= LEAST_PICTURES else 1.0]
    for label in np.unique(labels):
        own = np.sort(run.joins[labels[run.rows] == label])
        needed.append(own[_LEAST_OF_CLASS - 1] if len(own) >= _LEAST_OF_CLASS else 1.0)
    return float(max(needed))
