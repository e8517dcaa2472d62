"""What the rows of a study scored on the same test pictures, and how far the first one is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pawprint.choosing.scores import mean_interval, number_groups, share_interval
from pawprint.comparison.differences import SMALLEST_WRITTEN
from pawprint.comparison.intervals import (
    holm,
    paired_mean_interval,
    paired_share_interval,
    paired_share_test,
)
from pawprint.evaluation.predictions import Prediction
from pawprint.runner.errors import DataError

Said = Mapping[str, Prediction]  # path → what one model said of that test picture
Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One score of a row.

    Attributes:
        seeds: of each seed.
        mean: over the seeds.
        interval: over pictures, of the mean over the seeds.
    """

    seeds: tuple[float, ...]
    mean: float
    interval: Interval

    @property
    def median(self) -> float:
        return statistics.median(self.seeds)


@dataclass(frozen=True)
class Against:
    """A row against the first one; each difference is this row's minus the first one's.

    Attributes:
        accuracy: of the means over the seeds; ``accuracy_interval``: over pictures.
        log_loss: likewise; ``log_loss_interval``: None where the pictures do not allow one.
        only_first: pictures that the first row alone has right, by most of its seeds.
        only_this: that this row alone has right.
        p_value: of McNemar's exact test of these, over groups.
        p_holm: raised by Holm's rule, over all rows.
    """

    accuracy: float
    accuracy_interval: Interval
    log_loss: float
    log_loss_interval: Interval | None
    only_first: int
    only_this: int
    p_value: float
    p_holm: float = 1.0


@dataclass(frozen=True)
class Judged:
    """A row: its scores on the test pictures, and against the first row (None: it is that)."""

    accuracy: Score
    log_loss: Score
    against: Against | None


@dataclass(frozen=True)
class Judgement:
    """All rows, on the test pictures that all have.

    Attributes:
        rows: in the order in which they were given.
        pictures: how many were compared.
        dropped: pictures that some rows have and others lack; left out.
        grouped: of those compared, how many belong together with others.
    """

    rows: tuple[Judged, ...]
    pictures: int
    dropped: int
    grouped: int


@dataclass(frozen=True)
class _Table:
    """Of one row: float64 [seeds, n], whether right (0 or 1), and the losses in nats."""

    right: np.ndarray
    losses: np.ndarray


def judge(
    rows: Sequence[Sequence[Said]], group_of: Mapping[str, str], confidence: float
) -> Judgement:
    """Score rows, and compare each with the first.

    Args:
        rows: of each, what was said with each seed; at least one row with one seed.
        group_of: path → the name of what belongs together.
        confidence: of the intervals, in (0, 1).

    Raises:
        DataError: they have no picture in common.
    """
    everything = [said for row in rows for said in row]
    common = set(everything[0]).intersection(*everything[1:])
    if not common:
        raise DataError("the rows have no test picture in common: run the study again")
    paths = sorted(common)
    groups = number_groups(group_of.get(path, path) for path in paths)
    tables = [_read(row, paths) for row in rows]
    judged = [
        Judged(
            _score(table.right, share_interval(table.right.mean(0), groups, confidence)),
            _score(table.losses, mean_interval(table.losses.mean(0), groups, confidence)),
            _compare(tables[0], table, groups, confidence) if i else None,
        )
        for i, table in enumerate(tables)
    ]
    raised = holm([row.against.p_value if row.against else None for row in judged])
    judged = [
        replace(row, against=replace(row.against, p_holm=p)) if row.against and p else row
        for row, p in zip(judged, raised, strict=True)
    ]
    counts = np.bincount(groups)
    dropped = len(set().union(*everything)) - len(paths)
    return Judgement(tuple(judged), len(paths), dropped, int(counts[counts > 1].sum()))


def _read(row: Sequence[Said], paths: Sequence[str]) -> _Table:
    right = [[said[path].correct for path in paths] for said in row]
    probabilities = [[said[path].actual_probability for path in paths] for said in row]
    losses = -np.log(np.maximum(np.array(probabilities), SMALLEST_WRITTEN))
    return _Table(np.array(right, np.float64), losses)


def _score(values: np.ndarray, interval: Sequence[float]) -> Score:
    seeds = tuple(float(each) for each in values.mean(axis=1))
    return Score(seeds, float(values.mean()), (interval[0], interval[1]))


def _compare(first: _Table, this: _Table, groups: np.ndarray, confidence: float) -> Against:
    by_most = [(table.right.mean(0) > 0.5).astype(np.float64) for table in (first, this)]
    changed = by_most[1] - by_most[0]
    gained = this.right.mean(0) - first.right.mean(0)
    interval = paired_share_interval(changed, groups, confidence)
    if len(first.right) > 1 or len(this.right) > 1:  # then gains are shares of seeds
        found, _ = paired_mean_interval(gained, groups, confidence)
        interval = (max(found[0], -1.0), min(found[1], 1.0)) if found else interval
    lost = this.losses.mean(0) - first.losses.mean(0)
    return Against(
        float(gained.mean()),
        interval,
        float(lost.mean()),
        paired_mean_interval(lost, groups, confidence)[0],
        int((changed < 0).sum()),
        int((changed > 0).sum()),
        paired_share_test(changed, groups),
    )
