"""The head trained on growing parts of the pictures, each time judged on all of them.

Every size is trained by the recipe of ``params.head``, with its number of epochs: a small part is
then few steps. So a curve says what this recipe makes of fewer pictures, and not what the best one
for so few would.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.choosing.heads import HeadTask, HeldOut, train_heads
from pawprint.choosing.pictures import LabelledFeatures
from pawprint.evaluation.metrics import check_predictions, picture_losses
from pawprint.learning_curve.subsets import Plan
from pawprint.runner.files import atomic_write
from pawprint.runner.params import HeadParams
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.class_weights import weigh_classes

# Seconds on 2 cores of an AMD EPYC (Zen 5): a feature of a picture that is trained on; one of a
# picture that is judged; the temperature, for a logit that is judged; the start of a size
_TRAINED_S, _FORWARD_S, _FITTED_S, _STARTED_S = 3.0e-9, 0.4e-9, 2.0e-6, 1.0
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Measurements:
    """What s sizes and r seeds made of n pictures, each judged by a head that has not seen it.

    Attributes:
        wrong: float64 [s, r, n]: 1 where the likeliest class is not the actual one, else 0.
        losses: float64 [s, r, n]: -ln(probability of the actual class).
    """

    wrong: np.ndarray
    losses: np.ndarray


def estimate_seconds(plan: Plan, pictures: LabelledFeatures, epochs: int) -> np.ndarray:
    """About how long each size takes on 2 cores, float64 [s]; the start of TensorFlow is not in it.

    Args:
        epochs: of the head's recipe.
    """
    width, classes = pictures.views[0].shape[1], len(pictures.class_names)
    judged = plan.seeds * len(pictures.labels) * (width * _FORWARD_S + classes * _FITTED_S)
    trained = len(plan.runs) * plan.sizes * width * _TRAINED_S
    return _STARTED_S + epochs * (trained + judged)


def measure_curve(
    pictures: LabelledFeatures,
    plan: Plan,
    head: HeadParams,
    work: Path,
    follow: Callable[[int, float], None],
) -> Measurements:
    """Train the heads of each size side by side, the smallest ones first.

    The first seed is that of ``head``, others follow it. A head's epoch and temperature are chosen
    by those of its own size and seed on other folds, as in stage crossval.

    Args:
        pictures: n, of c classes.
        plan: of these pictures.
        head: the recipe.
        work: a directory for these arguments and no others: finished sizes and epochs that are kept
            there are not trained again, and the result is the same to the last bit.
        follow: is told the size that is worked on, from 0, and the share of it that is done; of
            one that was kept, 1 alone.

    Raises:
        ModelError: a training has diverged.
    """
    measured = []
    for place, share in enumerate(plan.shares):
        kept = work / f"size_{place:02d}.npy"
        found = _read(kept)
        if found is None:
            follow(place, 0.0)
            found = _measure_size(pictures, plan, share, head, kept.with_suffix(""), place, follow)
            _write(kept, found)
            shutil.rmtree(kept.with_suffix(""), ignore_errors=True)
        follow(place, 1.0)
        measured.append(found)
    wrong, losses = np.stack(measured, axis=1)
    return Measurements(wrong, losses)


def make_size_tasks(
    labels: np.ndarray, plan: Plan, share: float, head: HeadParams, class_names: list[str]
) -> list[HeadTask]:
    """The heads of one size, in the order of the plan's runs."""
    tasks = []
    for run in plan.runs:
        train = run.subset(share)
        others = [i for i, o in enumerate(plan.runs) if o.seed == run.seed and o.fold != run.fold]
        recipe = head.model_copy(update={"seed": head.seed + run.seed})
        weights = weigh_classes(recipe, "head", labels[train], class_names)
        tasks.append(HeadTask(train, run.held_out, recipe, tuple(others), weights, run.fold))
    return tasks


def _measure_size(
    pictures: LabelledFeatures,
    plan: Plan,
    share: float,
    head: HeadParams,
    checkpoints: Path,
    place: int,
    follow: Callable[[int, float], None],
) -> np.ndarray:
    """Wrong and losses of one size, float64 [2, r, n]."""
    labels, names = pictures.labels, pictures.class_names
    tasks = make_size_tasks(labels, plan, share, head, names)
    said: list[HeldOut] = train_heads(
        pictures.views,
        labels,
        len(names),
        tasks,
        Checkpoints(checkpoints),
        follow=lambda epochs: follow(place, epochs / head.epochs),
    )
    found = np.empty((2, plan.seeds, len(labels)))
    for run, head_said in zip(plan.runs, said, strict=True):
        y_true, probs = labels[run.held_out], head_said.probs
        check_predictions(y_true, probs, "learning-curve")
        found[0, run.seed, run.held_out] = probs.argmax(axis=1) != y_true
        found[1, run.seed, run.held_out] = picture_losses(y_true, probs)
    return found


def _write(path: Path, array: np.ndarray) -> None:
    """A checksum of what follows, then the array as of ``np.save``."""
    content = io.BytesIO()
    np.save(content, array)
    with atomic_write(path) as file:
        file.write(hashlib.sha256(content.getbuffer()).digest())
        file.write(content.getbuffer())


def _read(path: Path) -> np.ndarray | None:
    """What ``_write`` wrote; None if it is not there, or these are other bytes."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    checksum, array = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(array).digest() != checksum:
        print(f"{path} is damaged and not used", flush=True)
        return None
    return np.load(io.BytesIO(array), allow_pickle=False)
