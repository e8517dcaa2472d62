"""Cross-validation of the head: every picture of train and validation is judged by one that has
not seen it.

The best epoch and the temperature of a fold's head come from the other folds' heads, on what was
held out from these: chosen by the fold's own labels, they would flatter its figures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pawprint.choosing.heads import HeadTask, train_heads
from pawprint.choosing.out_of_fold import OutOfFold, write_out_of_fold
from pawprint.choosing.pictures import LabelledFeatures
from pawprint.choosing.scores import number_groups, score_folds
from pawprint.runner.files import atomic_directory
from pawprint.runner.params import HeadParams
from pawprint.storage.tables import write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.class_weights import weigh_classes

_SCORES = ("accuracy", "log_loss")


def cross_validate(
    pictures: LabelledFeatures,
    folds: np.ndarray,
    head: HeadParams,
    checkpoints: Checkpoints | None = None,
    follow: Callable[[int], None] | None = None,
) -> tuple[OutOfFold, list[int]]:
    """Train a head without each fold in turn, all of them side by side.

    Args:
        pictures: n, of c classes.
        folds: int64 [n], of ``assign_folds``.
        head: the recipe of each.
        checkpoints: as of ``train_heads``.
        follow: as of ``train_heads``.

    Returns:
        What was said of the pictures, and the best epoch of each fold's head.

    Raises:
        ModelError: a training has diverged.
    """
    labels, names = pictures.labels, pictures.class_names
    tasks = make_tasks(labels, folds, head, names)
    said = train_heads(pictures.views, labels, len(names), tasks, checkpoints, "crossval", follow)
    probs = np.empty((len(labels), len(names)), np.float32)
    for task, held_out in zip(tasks, said, strict=True):
        probs[task.held_out] = held_out.probs
    table = OutOfFold(pictures.paths, pictures.splits, folds, labels, probs, names)
    return table, [held_out.best_epoch for held_out in said]


def make_tasks(
    labels: np.ndarray, folds: np.ndarray, head: HeadParams, class_names: list[str], first: int = 0
) -> list[HeadTask]:
    """One head for each fold, trained on the others.

    Args:
        labels: int64 [n].
        folds: int64 [n], from 0 without gaps.
        head: the recipe of each.
        class_names: in the order of the labels.
        first: the place of the first one among those that will be trained side by side.
    """
    count = int(folds.max()) + 1
    return [
        HeadTask(
            np.flatnonzero(folds != fold),
            np.flatnonzero(folds == fold),
            head,
            tuple(first + other for other in range(count) if other != fold),
            weigh_classes(head, "head", labels[folds != fold], class_names),
            stream=fold,
        )
        for fold in range(count)
    ]


def write_crossval(
    metrics: Path,
    table: OutOfFold,
    best_epochs: list[int],
    pictures: LabelledFeatures,
    confidence: float,
) -> str:
    """Write ``crossval.json`` and ``crossval/``; return what to tell the user.

    The figures to choose by are accuracy and log loss over all pictures, with their standard
    errors; ``over_folds`` has their standard deviations over the folds.

    Args:
        metrics: the directory, such as ``metrics``.
        table: of n pictures.
        best_epochs: of each fold's head.
        pictures: those of the table, in its order.
        confidence: of the intervals.
    """
    groups = number_groups(pictures.groups)
    scores = score_folds(
        table.labels, table.probs, table.folds, groups, confidence, pictures.num_test
    )
    with atomic_directory(metrics / "crossval") as directory:
        write_out_of_fold(directory / "predictions.csv", table)
        write_json(directory / "details.json", {**scores, "best_epochs": best_epochs})
    headline = {key: scores[key] for name in _SCORES for key in (name, f"{name}_se")}
    # Lists, of which DVC's table shows nothing: it has one column for each key of any file
    spread = [{"score": name, "spread": scores[f"{name}_spread"]} for name in _SCORES]
    write_json(metrics / "crossval.json", {**headline, "over_folds": spread})
    lines = [
        f"{name.replace('_', ' ')} {scores[name]:.4f} ({_show(scores[f'{name}_interval'])}), "
        f"standard error {scores[f'{name}_se']:.4f}, "
        f"spread of the folds {scores[f'{name}_spread']:.4f}; "
        f"on the {scores['test_pictures']} test pictures expect {_show(scores[f'{name}_on_test'])}"
        for name in _SCORES
    ]
    return "\n".join(
        [
            f"{scores['pictures']} pictures in {scores['folds']} folds, each judged by a head that "
            "has not seen it:",
            *lines,
            f"of each picture: {metrics}/crossval/predictions.csv",
        ]
    )


def _show(interval: list[float]) -> str:
    return "{:.4f} to {:.4f}".format(*interval)
