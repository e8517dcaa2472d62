"""Many heads trained at once on parts of the same cached features, each judged on held-out rows.

One head is a few small matrix products, so that most of its time goes into starting them. Side by
side, five take hardly longer than one. The recipe is train_head's to the step: a head takes batches
of its own rows, in the order that stage train_head would have them in.

Nothing of a head's own held-out labels may choose for it: its figures would be those of the best of
many, and too good. Its best epoch, the end of its training, the learning rate of the schedule
``plateau`` and its temperature follow from what other heads scored on what was held out from them
(``HeadTask.chosen_by``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from pawprint.data.datasets import steps_per_epoch
from pawprint.runner.params import HeadParams
from pawprint.training.checkpoints import Checkpoints, Progress
from pawprint.training.temperature import fit_temperature, log_loss

if TYPE_CHECKING:
    from pawprint.choosing.side_by_side import Epoch, HeadsSideBySide

_SHARED = ("epochs", "batch_size", "hidden", "batch_norm", "accumulate", "precision")
_PLATEAU_FACTOR, _PLATEAU_CHANGE = 0.3, 1e-4  # train_head's factor, and Keras' least change


@dataclass(frozen=True)
class HeadTask:
    """One head that is to be trained.

    Attributes:
        train: int64 [m], its rows of the features.
        held_out: int64 [h], the rows on which it is judged; at least one.
        params: its recipe. Heads side by side differ in nothing of epochs, batch_size, hidden,
            batch_norm, accumulate and precision.
        chosen_by: places of the heads whose held-out log loss chooses for this one. A head that
            chooses for itself, as stage train_head's does on validation, gets a figure that is a
            little too good.
        class_weights: float32 [c], of the loss; None: all pictures weigh the same.
        stream: heads of one seed and different streams have other first weights and orders.
    """

    train: np.ndarray
    held_out: np.ndarray
    params: HeadParams
    chosen_by: tuple[int, ...]
    class_weights: np.ndarray | None = None
    stream: int = 0


@dataclass(frozen=True)
class HeldOut:
    """What a head said of the rows that were held out from it.

    Attributes:
        logits: float32 [h, c], of its best epoch, before the temperature.
        temperature: by which they are to be divided.
        best_epoch: from 1.
        log_losses: of each epoch, on its own held-out rows at their best temperature. These choose
            for other heads, and are no fair figure of this one.
    """

    logits: np.ndarray
    temperature: float
    best_epoch: int
    log_losses: list[float]

    @property
    def probs(self) -> np.ndarray:
        """Probabilities, float32 [h, c], at the temperature."""
        return softmax(self.logits.astype(np.float64) / self.temperature, axis=1).astype(np.float32)


def train_heads(
    views: Sequence[np.ndarray],
    labels: np.ndarray,
    num_classes: int,
    tasks: Sequence[HeadTask],
    checkpoints: Checkpoints | None = None,
    title: str = "heads",
    follow: Callable[[int], None] | None = None,
) -> list[HeldOut]:
    """Train heads side by side.

    Their work is that of the largest one times their number: give heads of very different numbers
    of rows to several calls. A head's result is the same to a few last bits whoever its neighbours
    are, as long as those that choose for it are.

    Args:
        views: of the features, float32 [n, d] each; the first is of the plain pictures. Epoch e
            trains on view e modulo their number; held-out rows are always plain.
        labels: int64 [n], of the pictures.
        num_classes: c.
        tasks: k heads.
        checkpoints: of a training with these arguments and no other; what a killed process left
            there is continued, with the same result to the last bit. None: nothing is kept.
        title: what the progress bar says.
        follow: is told after each epoch how many are done, instead of a progress bar.

    Returns:
        For each task, what its head said of its held-out rows.

    Raises:
        ModelError: a training has diverged.
    """
    import tensorflow as tf

    _check_tasks(tasks)
    first = tasks[0].params
    network = _build(tasks, views[0].shape[1], num_classes)
    tensors = [tf.convert_to_tensor(view) for view in views]
    y_true = tf.constant(labels.astype(np.int32))
    held_out = [task.held_out for task in tasks]
    losses, kept = _continue(network, tasks, num_classes, checkpoints)
    chosen = [_choose(losses, task) for task in tasks]
    bar = tqdm(
        total=first.epochs, desc=title, initial=len(losses), unit="epoch", disable=bool(follow)
    )
    with bar:
        while len(losses) < first.epochs and not all(stopped for _, stopped in chosen):
            number = len(losses)
            network.train_epoch(
                tensors[number % len(tensors)], y_true, plan_epoch(tasks, number, losses)
            )
            logits = network.predict(tensors[0], held_out)
            losses.append(
                [_judge(*pair) for pair in zip(logits, _labels(labels, tasks), strict=True)]
            )
            chosen = [_choose(losses, task) for task in tasks]
            kept[number] = logits
            kept = {epoch: kept[epoch] for epoch in sorted({epoch for epoch, _ in chosen})}
            if checkpoints:
                checkpoints.save(_progress(network, losses, kept))
            bar.update()
            if follow:
                follow(len(losses))
    return [
        HeldOut(
            kept[best][i],
            _fit(kept[best], labels, tasks, tasks[i].chosen_by),
            best + 1,
            [epoch[i] for epoch in losses],
        )
        for i, (best, _) in enumerate(chosen)
    ]


def initial_weights(task: HeadTask, num_features: int, num_classes: int) -> list[np.ndarray]:
    """The weights with which a head begins, float32, in the order of ``build_head``'s.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks (2010), equation 16; batch norm begins as the identity.
    """
    rng = np.random.default_rng(_seeds(task)[0])
    weights: list[np.ndarray] = []
    widths = [num_features, *task.params.hidden, num_classes]
    for i, (width, units) in enumerate(pairwise(widths)):
        limit = np.sqrt(6 / (width + units))
        weights.append(rng.uniform(-limit, limit, (width, units)).astype(np.float32))
        zeros, ones = np.zeros(units, np.float32), np.ones(units, np.float32)
        normalized = task.params.batch_norm and i < len(task.params.hidden)
        weights += [ones, zeros, zeros, ones] if normalized else [zeros]
    return weights


def plan_epoch(tasks: Sequence[HeadTask], epoch: int, losses: Sequence[Sequence[float]]) -> Epoch:
    """The batches and learning rates of an epoch.

    Args:
        tasks: k heads.
        epoch: its number, from 0.
        losses: [epochs before it, k], by which the schedule ``plateau`` goes.
    """
    from pawprint.choosing.side_by_side import PADDING, Epoch

    size = tasks[0].params.batch_size
    counts = [steps_per_epoch(len(task.train), size) for task in tasks]
    steps = max(counts)
    rows = np.full((len(tasks), steps * size), PADDING, np.int32)
    for own, task in zip(rows, tasks, strict=True):
        order = np.random.default_rng([task.params.seed, epoch, task.stream])
        own[: len(task.train)] = task.train[order.permutation(len(task.train))]
    number = np.array(counts) * epoch + np.arange(steps)[:, None]
    lr = [
        learning_rates(task.params, own, count) * (_PLATEAU_FACTOR ** _count_plateaus(losses, task))
        for task, own, count in zip(tasks, number.T, counts, strict=True)
    ]
    return Epoch(
        rows.reshape(len(tasks), steps, size).transpose(1, 0, 2).copy(),
        np.stack(lr, axis=1).astype(np.float32),
        number.astype(np.int32),
    )


def learning_rates(params: HeadParams, number: np.ndarray, steps: int) -> np.ndarray:
    """The learning rate of each batch, float64 [s]; the plateaus of validation do not count.

    Source: Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2017),
    equation 5, without a restart; before it, a linear warm-up.

    Args:
        number: int [s], of the batches, from 0 at the start of the training.
        steps: batches of an epoch.
    """
    if params.schedule != "cosine":
        return np.full(len(number), params.lr)
    total = steps * params.epochs
    warmup = round(params.warmup * total)
    share = np.clip((number - warmup) / max(1, total - warmup), 0, 1)
    decayed = params.lr * (1 + np.cos(np.pi * share)) / 2
    return np.where(number < warmup, params.lr * number / max(1, warmup), decayed)


def find_best(scores: Sequence[float], patience: int) -> tuple[int, bool]:
    """The epoch of the lowest score, from 0, and whether there were ``patience`` without a lower.

    Epochs after such a stop do not count.

    >>> find_best([3.0, 1.0, 2.0, 2.0, 0.5], patience=2)
    (1, True)
    """
    best = 0
    for epoch, score in enumerate(scores):
        if score < scores[best]:
            best = epoch
        elif epoch and epoch - best >= patience:
            return best, True
    return best, False


def _check_tasks(tasks: Sequence[HeadTask]) -> None:
    for name in _SHARED:
        values = [getattr(task.params, name) for task in tasks]
        assert all(value == values[0] for value in values), f"heads side by side differ in {name}"


def _build(tasks: Sequence[HeadTask], num_features: int, num_classes: int) -> HeadsSideBySide:
    from pawprint.choosing.side_by_side import HeadsSideBySide

    ones = np.ones(num_classes, np.float32)
    return HeadsSideBySide(
        [task.params for task in tasks],
        [initial_weights(task, num_features, num_classes) for task in tasks],
        np.stack([ones if t.class_weights is None else t.class_weights for t in tasks]),
        [_seeds(task)[1] for task in tasks],
    )


def _seeds(task: HeadTask) -> list[int]:
    """Of the first weights, and of dropout."""
    sequence = np.random.SeedSequence([task.params.seed, task.stream])
    return [int(seed) for seed in sequence.generate_state(2)]


def _labels(labels: np.ndarray, tasks: Sequence[HeadTask]) -> list[np.ndarray]:
    return [labels[task.held_out] for task in tasks]


def _judge(logits: np.ndarray, y_true: np.ndarray) -> float:
    """The log loss at the best temperature, as stage train_head selects by."""
    return log_loss(logits / fit_temperature(logits, y_true), y_true)


def _scores(losses: Sequence[Sequence[float]], task: HeadTask) -> list[float]:
    """What chooses for a head: the mean of others' log losses after each epoch."""
    return [float(np.mean([epoch[i] for i in task.chosen_by])) for epoch in losses]


def _choose(losses: Sequence[Sequence[float]], task: HeadTask) -> tuple[int, bool]:
    return find_best(_scores(losses, task), task.params.patience)


def _count_plateaus(losses: Sequence[Sequence[float]], task: HeadTask) -> int:
    """How often the schedule ``plateau`` has lowered the learning rate, as Keras' callback does."""
    if task.params.schedule != "plateau":
        return 0
    patience = max(1, task.params.patience // 2)
    best, waited, count = np.inf, 0, 0
    for score in _scores(losses, task):
        if score < best - _PLATEAU_CHANGE:
            best, waited = score, 0
        else:
            waited += 1
        if waited >= patience:
            waited, count = 0, count + 1
    return count


def _fit(
    logits: Sequence[np.ndarray],
    labels: np.ndarray,
    tasks: Sequence[HeadTask],
    chosen_by: Sequence[int],
) -> float:
    """The temperature of all held-out rows of some heads together."""
    own = _labels(labels, tasks)
    return fit_temperature(
        np.concatenate([logits[i] for i in chosen_by]), np.concatenate([own[i] for i in chosen_by])
    )


def _progress(
    network: HeadsSideBySide, losses: list[list[float]], kept: dict[int, list[np.ndarray]]
) -> Progress:
    logs = [{str(i): loss for i, loss in enumerate(epoch)} for epoch in losses]
    logits = [array for arrays in kept.values() for array in arrays]
    return Progress(logs, False, *network.get_state(), logits)


def _continue(
    network: HeadsSideBySide,
    tasks: Sequence[HeadTask],
    num_classes: int,
    checkpoints: Checkpoints | None,
) -> tuple[list[list[float]], dict[int, list[np.ndarray]]]:
    """What an earlier process left: the log losses of each epoch, and logits of the best ones."""
    progress = checkpoints.load() if checkpoints else None
    if progress is None:
        return [], {}
    print(f"continuing after epoch {len(progress.logs)} of {tasks[0].params.epochs}", flush=True)
    network.set_state(progress.weights, progress.optimizer)
    losses = [list(epoch.values()) for epoch in progress.logs]
    best = sorted({_choose(losses, task)[0] for task in tasks})
    arrays = iter(progress.best_weights)
    return losses, {epoch: [next(arrays) for _ in tasks] for epoch in best}
