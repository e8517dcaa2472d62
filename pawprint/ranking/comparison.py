"""Candidates judged on the same pictures: their scores, and how far apart they are, in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pawprint.choosing.out_of_fold import OutOfFold
from pawprint.choosing.scores import PairedMean, number_groups, paired_mean, standard_error
from pawprint.evaluation.metrics import picture_losses
from pawprint.ranking.candidates import Candidate
from pawprint.runner.errors import DataError


@dataclass(frozen=True)
class Ranked:
    """A candidate and its scores, on the pictures that all candidates have.

    Attributes:
        candidate: what was judged.
        log_loss: of the out-of-fold predictions, in nats; ``log_loss_se``: its standard error.
        accuracy: a share; ``accuracy_se``: its standard error.
        behind_best: its log loss minus the best one's.
        behind_best_accuracy: the best one's accuracy minus its own.
        from_reference: its log loss minus the reference's.
        from_reference_accuracy: its accuracy minus the reference's.
    """

    candidate: Candidate
    log_loss: float
    log_loss_se: float
    accuracy: float
    accuracy_se: float
    behind_best: PairedMean
    behind_best_accuracy: PairedMean
    from_reference: PairedMean
    from_reference_accuracy: PairedMean


@dataclass(frozen=True)
class RankingOfCandidates:
    """All candidates, the lowest log loss first.

    Attributes:
        ranked: at least one.
        reference: the current one if it is among them, otherwise the best.
        pictures: how many all have.
        dropped: pictures that some have and others lack; left out.
        moved: of the common pictures, how many are not in the same fold everywhere.
        confidence: of the intervals.
    """

    ranked: list[Ranked]
    reference: Candidate
    pictures: int
    dropped: int
    moved: int
    confidence: float


def rank(
    tables: Mapping[Candidate, OutOfFold], group_of: Mapping[str, str], confidence: float
) -> RankingOfCandidates:
    """Rank candidates by the log loss of their out-of-fold predictions.

    Args:
        tables: of each candidate; at least one.
        group_of: path → the name of what belongs together; pictures of one group count as one.
        confidence: of the intervals, in (0, 1).

    Raises:
        DataError: they have no picture in common, or tell other classes apart.
    """
    paths = _common_paths(list(tables.values()))
    groups = number_groups(group_of[path] for path in paths)
    losses, right, folds = {}, {}, []
    for candidate, table in tables.items():
        rows = _rows_of(table, paths)
        y_true, probs = table.labels[rows], table.probs[rows]
        losses[candidate] = picture_losses(y_true, probs)
        right[candidate] = (probs.argmax(axis=1) == y_true).astype(np.float64)
        folds.append(table.folds[rows])
    order = sorted(tables, key=lambda candidate: float(losses[candidate].mean()))
    best = order[0]
    reference = next((candidate for candidate in order if candidate.current), best)

    def difference(
        values: Mapping[Candidate, np.ndarray], one: Candidate, other: Candidate
    ) -> PairedMean:
        return paired_mean(values[one] - values[other], groups, confidence)

    ranked = [
        Ranked(
            candidate,
            float(losses[candidate].mean()),
            standard_error(losses[candidate], groups),
            float(right[candidate].mean()),
            standard_error(right[candidate], groups),
            difference(losses, candidate, best),
            difference(right, best, candidate),
            difference(losses, candidate, reference),
            difference(right, candidate, reference),
        )
        for candidate in order
    ]
    everything = {path for table in tables.values() for path in table.paths}
    moved = int((np.stack(folds) != folds[0]).any(axis=0).sum())
    return RankingOfCandidates(
        ranked, reference, len(paths), len(everything) - len(paths), moved, confidence
    )


def _common_paths(tables: Sequence[OutOfFold]) -> list[str]:
    if any(table.class_names != tables[0].class_names for table in tables):
        raise DataError("the candidates tell other classes apart: run the same command again")
    common = set(tables[0].paths).intersection(*(table.paths for table in tables))
    if not common:
        raise DataError("the candidates have no picture in common: run the same command again")
    return [path for path in tables[0].paths if path in common]


def _rows_of(table: OutOfFold, paths: Sequence[str]) -> np.ndarray:
    place = {path: row for row, path in enumerate(table.paths)}
    return np.array([place[path] for path in paths])
