# covers: B14, R18, R17, B3
"""Heads side by side: each as if it were trained alone, by the recipe of stage train_head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pawprint.choosing.heads import HeadTask, HeldOut, find_best, initial_weights, train_heads
from pawprint.data.datasets import steps_per_epoch, training_batches
from pawprint.networks.architectures import build_head
from pawprint.runner.errors import ModelError
from pawprint.runner.params import HeadParams, Params
from pawprint.training.checkpoints import Checkpoints, Progress
from pawprint.training.fit import Trained, Validation, train_model

RNG = np.random.default_rng(0)
N, D, C = 150, 8, 3
LABELS = RNG.integers(0, C, N)
VIEWS = [(RNG.normal(size=(N, D)) + np.eye(D)[LABELS]).astype(np.float32) for _ in range(2)]
TRAIN, VAL = np.arange(100), np.arange(100, N)  # 7 batches an epoch, of which the last has 4
WEIGHTS = np.array([1, 2, 0.5], np.float32)


def recipe(committed: Params, **changes: Any) -> HeadParams:
    quick = {"batch_size": 16, "lr": 0.03, "epochs": 4, "dropout": 0.0}
    return committed.head.model_copy(update=quick | changes)


def train_alone(params: HeadParams, first: list[np.ndarray] | None, kept: Path) -> Trained:
    """By the code of stage train_head."""
    keras.utils.set_random_seed(params.seed)
    model = build_head(params, D, C)
    if first:
        model.set_weights(first)
    inputs = tf.data.Dataset.from_tensor_slices(VIEWS[0][VAL]).batch(64)
    return train_model(
        model,
        training_batches(
            lambda epoch, rows: (VIEWS[epoch % 2][TRAIN][rows],), LABELS[TRAIN], params, lambda x: x
        ),
        steps_per_epoch(len(TRAIN), params.batch_size),
        Validation(inputs, LABELS[VAL]),
        params,
        Checkpoints(kept),
        class_weights=WEIGHTS,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 0.1, "warmup": 0.3},
        {"hidden": [6, 5], "batch_norm": True, "weight_decay": 0.5, "accumulate": 3},
        {"schedule": "plateau", "lr": 0.3, "patience": 4, "epochs": 8},
    ],
    ids=["smoothing", "batch_norm", "plateau"],
)
def test_a_head_takes_the_steps_of_train_head(
    changes: dict[str, Any], committed: Params, tmp_path: Path
) -> None:
    params = recipe(committed, **changes)
    task = HeadTask(TRAIN, VAL, params, (0,), WEIGHTS)
    first = initial_weights(task, D, C)
    alone = train_alone(params, first, tmp_path)
    (head,) = train_heads(VIEWS, LABELS, C, [task])
    assert head.log_losses == pytest.approx([e["val_log_loss"] for e in alone.epochs], abs=1e-5)
    assert head.best_epoch == alone.summary["best_epoch"]
    assert head.temperature == pytest.approx(alone.temperature, abs=1e-4)
    logits = alone.model.predict(VIEWS[0][VAL], verbose=0)
    assert head.logits / head.temperature == pytest.approx(logits, abs=1e-4)


def test_dropout_is_that_of_train_head(committed: Params, tmp_path: Path) -> None:
    """The draws differ, so their means are compared; the last task has no dropout."""
    params = [recipe(committed, dropout=0.6, seed=seed, hidden=[16]) for seed in range(8)]
    params.append(recipe(committed, hidden=[16]))
    tasks = [HeadTask(TRAIN, VAL, p, (i,), WEIGHTS) for i, p in enumerate(params)]
    *heads, without = [head.log_losses[-1] for head in train_heads(VIEWS, LABELS, C, tasks)]
    alone = [
        train_alone(p, initial_weights(task, D, C), tmp_path / str(i)).epochs[-1]["val_log_loss"]
        for i, (p, task) in enumerate(zip(params[:2], tasks, strict=False))
    ]
    noise = np.std(heads, ddof=1) * np.sqrt(1 / 2 + 1 / 8)
    assert abs(np.mean(heads) - np.mean(alone)) < 3 * noise
    assert abs(np.mean(heads) - without) > 6 * noise


def said(head: HeldOut) -> np.ndarray:
    return np.concatenate([head.logits.ravel(), head.log_losses, [head.temperature]])


def test_neighbours_change_nothing(committed: Params) -> None:
    """Also those of other sizes, which have fewer batches, and of another recipe."""
    base = recipe(committed, hidden=[6], batch_norm=True, dropout=0.3, accumulate=2)
    other = {"lr": 0.1, "dropout": 0.0, "weight_decay": 0.3, "label_smoothing": 0.2, "warmup": 0.5}
    tasks = [
        HeadTask(TRAIN, VAL, base, (0,)),
        HeadTask(TRAIN[:20], VAL[:20], base.model_copy(update=other), (1,), WEIGHTS, stream=1),
    ]
    together = train_heads(VIEWS, LABELS, C, tasks)
    for i, task in enumerate(tasks):
        (alone,) = train_heads(VIEWS, LABELS, C, [replace(task, chosen_by=(0,))])
        assert said(together[i]) == pytest.approx(said(alone), abs=1e-4)
        assert together[i].best_epoch == alone.best_epoch


def test_one_seed_repeats_and_seeds_and_streams_differ(committed: Params) -> None:
    params = recipe(committed, dropout=0.3)
    tasks = [
        HeadTask(TRAIN, VAL, params, (0,)),
        HeadTask(TRAIN, VAL, params, (1,), stream=1),
        HeadTask(TRAIN, VAL, params.model_copy(update={"seed": 1}), (2,)),
    ]
    first, again = (train_heads(VIEWS, LABELS, C, tasks) for _ in range(2))
    assert [said(head).tobytes() for head in first] == [said(head).tobytes() for head in again]
    assert not np.allclose(first[0].logits, first[1].logits, atol=1e-2)
    assert not np.allclose(first[0].logits, first[2].logits, atol=1e-2)


def test_held_out_labels_do_not_choose_for_their_own_head(committed: Params) -> None:
    """The second head's are made wrong: that is the first one's matter alone."""
    params = recipe(committed, lr=0.3, patience=2, schedule="plateau", epochs=8)
    tasks = [HeadTask(TRAIN, VAL[:25], params, (1,)), HeadTask(TRAIN, VAL[25:], params, (0,))]
    wrong = LABELS.copy()
    wrong[VAL[25:]] = (wrong[VAL[25:]] + 1) % C
    before, after = (train_heads(VIEWS, labels, C, tasks) for labels in (LABELS, wrong))
    assert before[1].logits.tobytes() == after[1].logits.tobytes()
    assert before[1].temperature == after[1].temperature
    assert before[0].temperature != after[0].temperature


def test_probabilities_are_at_the_temperature() -> None:
    head = HeldOut(np.log([[4.0, 1.0]]).astype(np.float32), 2.0, 1, [])
    assert head.probs[0].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_training_that_diverges_says_so(committed: Params) -> None:
    task = HeadTask(TRAIN, VAL, recipe(committed), (0,))
    with pytest.raises(ModelError, match="the training has diverged, lower its lr"):
        train_heads([VIEWS[0] * np.float32(np.inf)], LABELS, C, [task])


class PowerCut(Exception):
    """The end of a process, as far as its files are concerned."""


class Interrupted(Checkpoints):
    """Checkpoints after one of which the training breaks off."""

    last = 0

    def save(self, progress: Progress) -> None:
        super().save(progress)
        if len(progress.logs) == self.last:
            raise PowerCut


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": [6], "batch_norm": True, "dropout": 0.4, "accumulate": 2},
        {"schedule": "plateau", "lr": 0.3, "patience": 4, "epochs": 8},
    ],
    ids=["cosine", "plateau"],
)
def test_an_interrupted_training_ends_with_the_same_bits(
    changes: dict[str, Any], committed: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = recipe(committed, **changes)
    tasks = [HeadTask(TRAIN, VAL[i::2], params, (1 - i,)) for i in range(2)]
    expected = train_heads(VIEWS, LABELS, C, tasks)
    checkpoints = Interrupted(tmp_path)
    for last in (1, 3):
        object.__setattr__(checkpoints, "last", last)
        with pytest.raises(PowerCut):
            train_heads(VIEWS, LABELS, C, tasks, checkpoints)
    capsys.readouterr()
    found = train_heads(VIEWS, LABELS, C, tasks, Checkpoints(tmp_path))
    assert f"continuing after epoch 3 of {params.epochs}\n" in capsys.readouterr().out
    assert [said(head).tobytes() for head in found] == [said(head).tobytes() for head in expected]
    assert [head.best_epoch for head in found] == [head.best_epoch for head in expected]
    ended = train_heads(VIEWS, LABELS, C, tasks, Checkpoints(tmp_path))  # nothing is left to train
    assert [said(head).tobytes() for head in ended] == [said(head).tobytes() for head in expected]


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([2.0], (0, False)),
        ([2.0, 2.0, 1.0], (2, False)),
        ([2.0, 3.0, 3.0, 1.0], (0, True)),  # what comes after the stop does not count
        ([3.0, 2.0, 1.0, 1.0, 1.0], (2, True)),
    ],
)
def test_the_best_epoch_is_early_stoppings(scores: list[float], found: tuple[int, bool]) -> None:
    assert find_best(scores, patience=2) == found
