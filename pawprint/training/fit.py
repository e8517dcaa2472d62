"""One training procedure for all three models: Keras' ``fit`` with its callbacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from dvclive import Live

from pawprint.data.datasets import Batches
from pawprint.networks.architectures import scale_logits, with_precision
from pawprint.networks.runtime import choose_precision
from pawprint.runner.params import TrainingParams
from pawprint.training.checkpoints import Checkpoints, Progress
from pawprint.training.temperature import fit_temperature, log_loss

MONITOR = "val_log_loss"


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        model: inputs → logits, float32; of the best epoch, calibrated on the validation data.
        temperature: by which its logits have been divided.
        summary: best_epoch, val_accuracy and val_log_loss of that model.
        curves: directory of dvclive's curves; to be moved where they shall stay.
        epochs: figures of each epoch, of the weights as they were trained: before the blend, and
            in the precision of the training.
        precision: of the training.
        blend: share of the trained weights in the model.
    """

    model: keras.Model
    temperature: float
    summary: dict[str, float]
    curves: Path
    epochs: list[dict[str, float]]
    precision: str
    blend: float

    def describe(self, metrics: Path) -> str:
        """Two lines for the user: what the kept epoch scored, and what the saved model scores.

        Args:
            metrics: the file that holds the latter.
        """
        best, saved = int(self.summary["best_epoch"]), self.summary
        kept, before, mixed = self.epochs[best - 1], "", ""
        if self.blend < 1:
            before = ", before the blend"
            mixed = (
                f"{self.blend:g} of these weights and {1 - self.blend:g} of those before training, "
            )
        if self.precision != "float32":
            before += f", computed in {self.precision}"
        return (
            f"epoch {best} of {len(self.epochs)} is kept; its weights{before}: "
            f"val_accuracy {kept['val_accuracy']:.4f}, "
            f"val_log_loss {kept[MONITOR]:.4f} at the best temperature "
            f"(val_loss {kept['val_loss']:.4f} at 1)\n"
            f"the saved model, {mixed}at temperature {self.temperature:.4f}: "
            f"val_accuracy {saved['val_accuracy']:.4f}, val_log_loss {saved['val_log_loss']:.4f}; "
            f"{metrics} holds these"
        )


class AdamW(keras.optimizers.AdamW):
    """AdamW whose learning rate may differ between layers.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019). Biases and
    normalization are not decayed; the rest decays with the common learning rate.

    Args:
        factors: a layer's name → factor of its learning rate; 1 for those that are not named.
        options: as for ``keras.optimizers.AdamW``.
    """

    weight_decay: float | None

    def __init__(self, factors: Mapping[str, float], **options: Any) -> None:
        super().__init__(**options)
        self._factors = factors
        if not self.weight_decay:
            self.weight_decay = None  # or Keras goes through all weights to take nothing from them
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # `variable` is TensorFlow's, and has no path: see tests/test_private_sides.py
        path = self._trainable_variables[self._get_variable_index(variable)].path
        factor = self._factors.get(path.split("/")[0], 1.0)
        super().update_step(gradient, variable, learning_rate * factor)


class Validation(keras.callbacks.Callback):
    """Adds the validation figures to each epoch's logs.

    ``val_loss`` and ``val_accuracy`` are the usual ones. ``val_log_loss`` is the log loss at the
    best temperature: that of the model as it would be saved now, and the one to select by, since
    overconfidence is mended at the end while a wrong ranking is not.

    Args:
        inputs: batches of the model's inputs, in order.
        labels: int64 [n].
    """

    def __init__(self, inputs: tf.data.Dataset, labels: np.ndarray) -> None:
        super().__init__()
        self.labels = labels
        self._inputs = inputs

    def predict(self, model: keras.Model) -> np.ndarray:
        """Logits, float32 [n, c], of all validation pictures."""
        return model.predict(self._inputs, verbose=0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        logits = self.predict(self.model)
        temperature = fit_temperature(logits, self.labels)
        logs["val_loss"] = log_loss(logits, self.labels)
        logs["val_accuracy"] = float(np.mean(logits.argmax(-1) == self.labels))
        logs[MONITOR] = log_loss(logits / temperature, self.labels)


class LiveLogger(keras.callbacks.Callback):
    """Writes each epoch's figures through dvclive."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name in ("loss", "accuracy"):
            self._live.log_metric(f"train/{name}", float((logs or {})[name]))
            self._live.log_metric(f"val/{name}", float((logs or {})[f"val_{name}"]))
        self._live.log_metric("val/log_loss", float((logs or {})[MONITOR]))
        self._live.next_step()


class Continuation(keras.callbacks.Callback):
    """Saves a training after each epoch, and restores what an earlier process saved of it.

    The other callbacks' states follow from the logs alone, so the logs are kept and replayed.
    The masks of an epoch's dropout follow from the epoch alone. Must be the last callback.

    Args:
        checkpoints: where the epochs are kept.
        epochs: of the whole training.
        stopping: restores the best weights at the end.
        others: callbacks that keep a state or write one; ``stopping`` is one of them.

    Attributes:
        first_epoch: that to begin with, from 0; ``epochs`` if nothing is left to train.
        epoch_logs: the figures of each epoch so far.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        epochs: int,
        stopping: keras.callbacks.EarlyStopping,
        others: Sequence[keras.callbacks.Callback],
    ) -> None:
        super().__init__()
        self._checkpoints, self._epochs = checkpoints, epochs
        self._stopping, self._others = stopping, others
        self._found = checkpoints.load()
        self.epoch_logs = self._found.logs if self._found else []
        self.first_epoch = epochs if self._found and self._found.stopped else len(self.epoch_logs)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._found is None:
            return
        print(f"continuing after epoch {len(self.epoch_logs)} of {self._epochs}", flush=True)
        for epoch, epoch_logs in enumerate(self.epoch_logs):
            for callback in self._others:
                callback.on_epoch_end(epoch, dict(epoch_logs))
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        for variable, value in zip(optimizer.variables, self._found.optimizer, strict=True):
            variable.assign(value)
        self.model.set_weights(self._found.weights)
        # see tests/test_private_sides.py
        self._stopping.best_weights = self._found.best_weights
        self._found = None  # as large as the model and its optimizer

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # How Keras counts draws is not promised: see tests/test_private_sides.py
        for layer in self.model.layers:
            if hasattr(layer, "seed_generator"):  # its state: a seed, and a count of draws
                state = layer.seed_generator.state
                state.assign([state.numpy()[0], epoch * self.params["steps"]])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch_logs.append(dict(logs or {}))
        self._checkpoints.save(
            Progress(
                self.epoch_logs,
                self.model.stop_training,
                self.model.get_weights(),
                [variable.numpy() for variable in self.model.optimizer.variables],
                self._stopping.best_weights,
            )
        )


def train_model(
    model: keras.Model,
    batches: Batches,
    steps: int,
    validation: Validation,
    params: TrainingParams,
    checkpoints: Checkpoints,
    *,
    factors: Mapping[str, float] = MappingProxyType({}),
    clip_norm: float = 0.0,
    blend: float = 1.0,
    class_weights: np.ndarray | None = None,
    copy_to_train: Callable[[keras.Model, str], keras.Model] | None = None,
) -> Trained:
    """Train a model: it gets the weights of its best epoch, calibrated.

    Each epoch is kept in ``checkpoints``. What a killed process left there is continued, with the
    same result to the last bit; the caller removes it when that result is written. The curves grow
    there, too.

    The training itself runs in the section's precision; what is left, and judged, is float32.

    Args:
        model: inputs → logits, float32; changed in place.
        batches: the first epoch → (inputs, labels) of it and of all later epochs in a row.
        steps: batches of an epoch.
        validation: what the best epoch is chosen by, and the temperature fitted on.
        params: the stage's section.
        checkpoints: of a training with these arguments and no other.
        factors: a layer's name → factor of its learning rate; 1 for those that are not named.
        clip_norm: largest norm of a step's gradients; 0: unlimited.
        blend: share of the trained weights in the result; the rest is those from before.
            Source: Wortsman et al., Robust fine-tuning of zero-shot models (2022), equation 1.
        class_weights: float32 [c], of the pictures of each class in the loss; None: all weigh the
            same. Validation, and so the choice of the best epoch, knows no weights.
        copy_to_train: (model, precision) → the form that is trained, whose weights have the same
            order; None: the model itself, or its copy in another precision.
    """
    before = model.get_weights()
    precision = choose_precision(params.precision)
    trained = (copy_to_train or _in_precision)(model, precision)
    trained.compile(
        optimizer=_build_optimizer(params, steps, factors, clip_norm),
        loss=_build_loss(model.output_shape[-1], params.label_smoothing, class_weights),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    stopping = keras.callbacks.EarlyStopping(
        MONITOR, mode="min", patience=params.patience, restore_best_weights=True, verbose=1
    )
    curves = checkpoints.directory / "curves"
    with Live(str(curves), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        others = [LiveLogger(live), stopping, *_build_plateau(params)]
        continuation = Continuation(checkpoints, params.epochs, stopping, others)
        trained.fit(
            # on several devices, fit looks at a batch even if no epoch is left
            batches(min(continuation.first_epoch, params.epochs - 1)),
            initial_epoch=continuation.first_epoch,
            epochs=params.epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=[validation, *others, continuation],  # the others read validation's figures
        )
    after = trained.get_weights()
    model.set_weights([(1 - blend) * a + blend * b for a, b in zip(before, after, strict=True)])
    logits = validation.predict(model)
    temperature = fit_temperature(logits, validation.labels)
    summary = {
        "best_epoch": stopping.best_epoch + 1,
        "val_accuracy": round(float(np.mean(logits.argmax(-1) == validation.labels)), 6),
        "val_log_loss": round(log_loss(logits / temperature, validation.labels), 6),
    }
    Path(live.metrics_file).unlink()  # the last epoch's figures; those of the result are these
    scale_logits(model, temperature)
    return Trained(model, temperature, summary, curves, continuation.epoch_logs, precision, blend)


def _in_precision(model: keras.Model, precision: str) -> keras.Model:
    return model if precision == "float32" else with_precision(model, precision)


def _build_optimizer(
    params: TrainingParams, steps: int, factors: Mapping[str, float], clip_norm: float
) -> AdamW:
    rate: Any = params.lr
    if params.schedule == "cosine":
        total = steps * params.epochs
        warmup = round(params.warmup * total)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else params.lr,
            max(1, total - warmup),
            warmup_target=params.lr if warmup else None,
            warmup_steps=warmup,
        )
    return AdamW(
        factors,
        learning_rate=rate,
        weight_decay=params.weight_decay,
        global_clipnorm=clip_norm or None,
        gradient_accumulation_steps=params.accumulate if params.accumulate > 1 else None,
    )


def _build_loss(
    num_classes: int, label_smoothing: float, class_weights: np.ndarray | None
) -> Callable[[Any, Any], Any]:
    """The loss of each picture of a batch, float32 [k]; Keras takes the mean over the batch."""

    def loss(y_true: Any, logits: Any) -> Any:
        one_hot = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), num_classes)
        losses = keras.losses.categorical_crossentropy(
            one_hot, logits, from_logits=True, label_smoothing=label_smoothing
        )
        if class_weights is None:
            return losses
        return losses * keras.ops.take(class_weights, keras.ops.cast(y_true, "int32"))

    return loss


def _build_plateau(params: TrainingParams) -> list[keras.callbacks.Callback]:
    if params.schedule != "plateau":
        return []
    patience = max(1, params.patience // 2)
    return [
        keras.callbacks.ReduceLROnPlateau(
            MONITOR, mode="min", factor=0.3, patience=patience, verbose=1
        )
    ]
