"""Two revisions on the pictures that both tested: by how much they differ, and on which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pawprint.choosing.scores import number_groups
from pawprint.comparison.intervals import (
    holm,
    paired_mean_interval,
    paired_share_interval,
    paired_share_test,
)
from pawprint.comparison.labels import Said, find_reviewed, judge_anew
from pawprint.comparison.records import Change, find_changes, find_other_inputs
from pawprint.comparison.revisions import CROSSVAL, Revision
from pawprint.data.manifest import Picture
from pawprint.evaluation.predictions import DECIMALS, Prediction
from pawprint.runner.errors import DataError

SMALLEST_WRITTEN = 0.5 * 10**-DECIMALS  # a probability of 0 in the table is below it


@dataclass(frozen=True)
class Shared:
    """Which pictures two tables have in common.

    Attributes:
        paths: of the pictures that are compared, sorted.
        before: how many pictures the first has.
        after: how many the second has.
        other_bytes: of the common paths, how many are other files; left out.
        other_labels: of the common pictures, how many have another class; left out, for what would
            be right there is not agreed upon.
        groups: int64 [n] of the compared pictures, from 0; equal where they belong together.
        reviewed: of the compared pictures, how many have another class in each; both revisions are
            judged by the one that a person decided on.
        without_loss: of these, how many count for the accuracy alone: with more than two classes,
            what the models gave the class is not known.
    """

    paths: tuple[str, ...]
    before: int
    after: int
    other_bytes: int
    other_labels: int
    groups: np.ndarray
    reviewed: int = 0
    without_loss: int = 0

    @property
    def grouped(self) -> int:
        """How many of the compared pictures are in one group with another of them."""
        counts = np.bincount(self.groups, minlength=1)
        return int(counts[counts > 1].sum())


@dataclass(frozen=True)
class Side:
    """A picture that one revision has right and the other wrong."""

    before: Prediction
    after: Prediction

    @property
    def mended(self) -> bool:
        return self.after.correct


@dataclass(frozen=True)
class Difference:
    """One model in two revisions, on the same pictures.

    Attributes:
        pictures: how many.
        accuracies: shares of right answers, before and after.
        accuracy_interval: of their difference.
        mended, broken: how many pictures changed sides: wrong → right, right → wrong.
        accuracy_p: of McNemar's exact test, over groups; ``accuracy_holm``: raised by Holm's rule,
            over all revisions in which this model does not say the same.
        log_losses: before and after, in nats.
        log_loss_interval: of their difference; None where the pictures do not allow one.
        log_loss_p, log_loss_holm: of Student's paired test; None likewise.
        same: whether both say the same of all pictures, to the last decimal that is kept.
        sides: pictures that changed sides, those that became wrong first; the surest error first.
    """

    pictures: int
    accuracies: tuple[float, float]
    accuracy_interval: tuple[float, float]
    mended: int
    broken: int
    accuracy_p: float
    log_losses: tuple[float, float]
    log_loss_interval: tuple[float, float] | None
    log_loss_p: float | None
    same: bool
    sides: tuple[Side, ...]
    accuracy_holm: float | None = 1.0
    log_loss_holm: float | None = 1.0

    @property
    def accuracy(self) -> float:
        return self.accuracies[1] - self.accuracies[0]

    @property
    def log_loss(self) -> float:
        return self.log_losses[1] - self.log_losses[0]


@dataclass(frozen=True)
class Comparison:
    """A revision, compared with the base.

    Attributes:
        revision: the second.
        test: the common test pictures.
        crossval: the common pictures of the folds; None if one of the two has none.
        models: name → difference; ``crossval`` among them if there is one.
        unpaired: models that only one of the two has.
        parameters: that differ.
        inputs: other files, code and data, that differ.
    """

    revision: Revision
    test: Shared
    crossval: Shared | None
    models: Mapping[str, Difference]
    unpaired: tuple[str, ...]
    parameters: tuple[Change, ...]
    inputs: tuple[str, ...]


def compare_revisions(
    base: Revision, others: Sequence[Revision], confidence: float
) -> list[Comparison]:
    """Compare each of the others with the base.

    Args:
        base: the first revision.
        others: at least one.
        confidence: of the intervals.

    Raises:
        DataError: two revisions have other classes, no picture or no model in common.
    """
    found = [_compare(base, other, confidence) for other in others]
    for name in {name: None for one in found for name in one.models}:
        # One that says the same is no try
        places = [i for i, c in enumerate(found) if name in c.models and not c.models[name].same]
        models = [found[i].models[name] for i in places]
        by_accuracy = holm([model.accuracy_p for model in models])
        by_loss = holm([model.log_loss_p for model in models])
        for i, model, accuracy, loss in zip(places, models, by_accuracy, by_loss, strict=True):
            raised = replace(model, accuracy_holm=accuracy, log_loss_holm=loss)
            found[i] = replace(found[i], models={**found[i].models, name: raised})
    return found


def _compare(base: Revision, other: Revision, confidence: float) -> Comparison:
    if base.class_names != other.class_names:
        a, b = set(base.class_names), set(other.class_names)
        raise DataError(
            f"{base} and {other} tell other classes apart: only the first has "
            f"{_names(a - b)}, only the second {_names(b - a)}; models of the same classes can be "
            "compared"
        )
    models = [name for name in base.said if name in other.said]
    if not models:
        raise DataError(
            f"{base} has the models {_names(set(base.said))}, {other} {_names(set(other.said))}: "
            "none in common"
        )
    labels = find_reviewed(base, other)
    tables, reviewed = judge_anew(
        [revision.said[name] for revision in (base, other) for name in models],
        labels,
        len(base.class_names),
    )
    said = {name: (tables[i], tables[len(models) + i]) for i, name in enumerate(models)}
    test = share_pictures(base, other, *said[models[0]], reviewed)
    if not test.paths:
        raise DataError(
            f"{base} tested {test.before:,} pictures, {other} {test.after:,}: none are the same"
            f"{_left_out(test)}; compare revisions with the same data and split"
        )
    found = {name: compare_models(*said[name], test, confidence) for name in models}
    crossval = None
    if base.crossval and other.crossval:
        folds = [base.crossval, other.crossval]
        (before, after), reviewed = judge_anew(folds, labels, len(base.class_names))
        crossval = share_pictures(base, other, before, after, reviewed)
        if crossval.paths:
            found[CROSSVAL] = compare_models(before, after, crossval, confidence)
    return Comparison(
        other,
        test,
        crossval,
        found,
        tuple(sorted({*base.said} ^ {*other.said})),
        tuple(find_changes(base.record.params, other.record.params)),
        tuple(find_other_inputs(base.record, other.record)),
    )


def share_pictures(
    base: Revision, other: Revision, before: Said, after: Said, reviewed: int = 0
) -> Shared:
    """The pictures that can be compared: the same path, the same file, the same class.

    ``reviewed`` of them were judged anew.
    """
    common = sorted(before.keys() & after.keys())
    same_bytes = [
        path
        for path in common
        if _sha256(base.pictures.get(path)) == _sha256(other.pictures.get(path))
        or not (base.pictures and other.pictures)  # not known
    ]
    paths = tuple(path for path in same_bytes if before[path].actual == after[path].actual)
    return Shared(
        paths,
        len(before),
        len(after),
        len(common) - len(same_bytes),
        len(same_bytes) - len(paths),
        number_groups(_join_groups(base.group_of, other.group_of, paths)),
        reviewed,
        sum(not np.isfinite(_loss(before[p]) + _loss(after[p])) for p in paths),
    )


def _join_groups(
    before: Mapping[str, str], after: Mapping[str, str], paths: Sequence[str]
) -> Iterator[str]:
    """Of each picture, the name of what belongs together in either of two revisions.

    One may have been made before groups were named, or with others.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for path in paths:
        parent[root(f"before {before.get(path, path)}")] = root(f"after {after.get(path, path)}")
    return (root(f"before {before.get(path, path)}") for path in paths)


def compare_models(before: Said, after: Said, shared: Shared, confidence: float) -> Difference:
    """One model before and after, on the pictures that are compared, at least one.

    Where some belong together, the tests and intervals are over groups.
    """
    pairs = [Side(before[path], after[path]) for path in shared.paths]
    losses = np.array([[_loss(pair.before), _loss(pair.after)] for pair in pairs])
    known = np.isfinite(losses).all(axis=1)
    if not known.any():
        raise DataError(
            f"each of the {len(pairs):,} test pictures in common was relabelled, and with more "
            "than two classes the log loss by the new labels is not known; compare revisions of "
            "one review"
        )
    losses = losses[known]
    right = np.array([[pair.before.correct, pair.after.correct] for pair in pairs])
    gained = right[:, 1].astype(np.float64) - right[:, 0]
    loss_interval, loss_p = paired_mean_interval(
        losses[:, 1] - losses[:, 0], shared.groups[known], confidence
    )
    return Difference(
        pictures=len(pairs),
        accuracies=(float(right[:, 0].mean()), float(right[:, 1].mean())),
        accuracy_interval=paired_share_interval(gained, shared.groups, confidence),
        mended=int((gained > 0).sum()),
        broken=int((gained < 0).sum()),
        accuracy_p=paired_share_test(gained, shared.groups),
        log_losses=(float(losses[:, 0].mean()), float(losses[:, 1].mean())),
        log_loss_interval=loss_interval,
        log_loss_p=loss_p,
        same=all(_is_same(pair) for pair in pairs),
        sides=tuple(sorted((p for p in pairs if p.before.correct != p.after.correct), key=_worst)),
    )


def _loss(said: Prediction) -> float:
    """NaN where what it gave the class is not known."""
    return float(-np.log(np.maximum(said.actual_probability, SMALLEST_WRITTEN)))


def _is_same(pair: Side) -> bool:
    if np.isfinite([_loss(pair.before), _loss(pair.after)]).all():
        return pair.before == pair.after
    return replace(pair.before, actual_probability=0) == replace(pair.after, actual_probability=0)


def _worst(side: Side) -> tuple[bool, float, str]:
    """Those that became wrong first; then by the probability that the wrong side gave the class."""
    wrong = side.before if side.mended else side.after
    return side.mended, np.nan_to_num(wrong.actual_probability), wrong.path


def _sha256(picture: Picture | None) -> str:
    return picture.sha256 if picture else ""


def _left_out(shared: Shared) -> str:
    parts = []
    if shared.other_bytes:
        parts.append(f"{shared.other_bytes:,} of the same name are other files")
    if shared.other_labels:
        parts.append(f"{shared.other_labels:,} have another class")
    return f" ({', '.join(parts)})" if parts else ""


def _names(names: set[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return (", ".join(shown[:5]) or "none") + more
