"""Several heads of one architecture as one network: their weights are stacked, [k, ...].

Their recipe is that of ``build_head`` and ``train_model``, step by step: the same layers, loss and
optimizer. What may differ between the heads is an array of k numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pawprint.networks.runtime import choose_precision
from pawprint.runner.params import HeadParams

_MOMENTUM, _BN_EPSILON = 0.9, 1e-3  # of batch norm: build_head's, and Keras' default
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # of AdamW: Keras' defaults
_PREDICTED_FLOATS = 2**24  # features that are gathered at a time: 64 MB
_FUSED_FROM = 2**17  # weights in an array: compiling takes a second, and is for large ones
PADDING = -1  # a place in a batch that holds no picture


@dataclass(frozen=True)
class Epoch:
    """The steps of an epoch, of k heads; s is the largest number of steps of any of them.

    Attributes:
        rows: int32 [s, k, batch_size], of the features; ``PADDING`` where a head has no picture.
        lr: float32 [s, k], the learning rates.
        number: int32 [s, k], which of all its batches this is to a head, from 0.
    """

    rows: np.ndarray
    lr: np.ndarray
    number: np.ndarray


class HeadsSideBySide:
    """k heads, their optimizers, and the compiled functions that train and apply them.

    A head's steps depend on nothing of its neighbours: its batches, its dropout and its statistics
    of batch norm are its own.

    Args:
        params: of each head; ``hidden``, ``batch_norm``, ``accumulate`` and ``precision`` are those
            of the first.
        initial: of each head, its weights in the order of ``build_head``'s.
        class_weights: float32 [k, num_classes], of each head's loss.
        dropout_seeds: int [k].
    """

    def __init__(
        self,
        params: Sequence[HeadParams],
        initial: Sequence[Sequence[np.ndarray]],
        class_weights: np.ndarray,
        dropout_seeds: Sequence[int],
    ) -> None:
        first = params[0]
        self._layers, self._batch_norm = len(first.hidden), first.batch_norm
        self._accumulate = first.accumulate
        self._bfloat16 = choose_precision(first.precision) == "bfloat16"
        self._dropout = np.array([p.dropout for p in params])
        self._dropout_seeds = tf.constant(np.array(dropout_seeds, np.int64))
        self._smoothing = tf.constant([[[p.label_smoothing]] for p in params], tf.float32)
        self._decay = tf.constant([p.weight_decay for p in params], tf.float32)
        self._class_weights = tf.constant(class_weights, tf.float32)
        self._weights = [tf.Variable(np.stack(w)) for w in zip(*initial, strict=True)]
        self._trained = [i for i in range(len(self._weights)) if not self._is_statistic(i)]
        kinds = 2 if self._accumulate == 1 else 3  # momentum, velocity, accumulated gradients
        self._optimizer = [
            [tf.Variable(tf.zeros_like(self._weights[i])) for i in self._trained]
            for _ in range(kinds)
        ]
        tf.get_logger().setLevel("ERROR")  # it warns where many functions are made, as here
        self._train = tf.function(self._train_epoch, reduce_retracing=True)
        self._predict = tf.function(self._predict_rows, reduce_retracing=True)

    def _is_statistic(self, place: int) -> bool:
        """Whether a weight is a mean or a variance of batch norm: kernel, gamma, beta, these."""
        return self._batch_norm and place < 5 * self._layers and place % 5 in (3, 4)

    def _is_decayed(self, place: int) -> bool:
        """Whether a weight is a kernel: biases and normalization are not decayed."""
        if place >= len(self._weights) - 2:
            return place == len(self._weights) - 2
        return place % (5 if self._batch_norm else 2) == 0

    def get_state(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of the weights and of the optimizers' variables, each [k, ...]."""
        optimizer = [variable.numpy() for kind in self._optimizer for variable in kind]
        return [variable.numpy() for variable in self._weights], optimizer

    def set_state(self, weights: Sequence[np.ndarray], optimizer: Sequence[np.ndarray]) -> None:
        """Go on from what ``get_state`` gave."""
        variables = [*self._weights, *(v for kind in self._optimizer for v in kind)]
        for variable, value in zip(variables, [*weights, *optimizer], strict=True):
            variable.assign(value)

    def train_epoch(self, features: tf.Tensor, labels: tf.Tensor, epoch: Epoch) -> None:
        """Take the steps of an epoch.

        Args:
            features: float32 [n, d].
            labels: int32 [n].
        """
        self._train(features, labels, epoch.rows, epoch.lr, epoch.number)

    def predict(self, features: tf.Tensor, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Logits of rows of the features, without dropout and in float32.

        Args:
            features: float32 [n, d].
            rows: of each head, int64 [m_i].

        Returns:
            Of each head, float32 [m_i, num_classes].
        """
        most = max(map(len, rows))
        padded = np.zeros((len(rows), most), np.int32)
        for i, own in enumerate(rows):
            padded[i, : len(own)] = own
        size = max(1, _PREDICTED_FLOATS // (len(rows) * features.shape[1]))
        parts = [
            self._predict(features, padded[:, start : start + size]).numpy()
            for start in range(0, most, size)
        ]
        logits = np.concatenate(parts, axis=1)
        return [logits[i, : len(own)].copy() for i, own in enumerate(rows)]

    def _train_epoch(
        self,
        features: tf.Tensor,
        labels: tf.Tensor,
        rows: tf.Tensor,
        lr: tf.Tensor,
        number: tf.Tensor,
    ) -> None:
        for step in tf.range(tf.shape(rows)[0]):
            self._take_step(features, labels, rows[step], lr[step], number[step])

    def _take_step(
        self,
        features: tf.Tensor,
        labels: tf.Tensor,
        rows: tf.Tensor,
        lr: tf.Tensor,
        number: tf.Tensor,
    ) -> None:
        present = tf.cast(rows != PADDING, tf.float32)  # [k, b]
        places = tf.maximum(rows, 0)
        x, y_true = tf.gather(features, places), tf.gather(labels, places)
        weights = present * tf.gather(self._class_weights, y_true, batch_dims=1)
        count = tf.maximum(tf.reduce_sum(present, axis=1), 1)
        trained = [self._weights[i] for i in self._trained]
        with tf.GradientTape() as tape:
            logits, statistics = self._forward(x, present, count, number)
            num_classes = logits.shape[-1]
            target = tf.one_hot(y_true, num_classes)
            target = target * (1 - self._smoothing) + self._smoothing / num_classes
            losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(tf.reduce_sum(losses * weights, axis=1) / count)
        gradients = tape.gradient(loss, trained)
        active = tf.reduce_any(rows != PADDING, axis=1)
        for place, value in statistics:
            variable = self._weights[place]
            moved = variable * _MOMENTUM + value * (1 - _MOMENTUM)
            variable.assign(tf.where(active[:, None], moved, variable))
        self._update(trained, gradients, active, lr, number)

    def _update(
        self,
        trained: list[tf.Variable],
        gradients: list[tf.Tensor],
        active: tf.Tensor,
        lr: tf.Tensor,
        number: tf.Tensor,
    ) -> None:
        """A step of AdamW for the heads that have a batch; with accumulation, for those at its end.

        Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization (2019), as Keras has it.
        """
        t = tf.cast(number // self._accumulate + 1, tf.float32)
        alpha = lr * tf.sqrt(1 - tf.pow(_BETA_2, t)) / (1 - tf.pow(_BETA_1, t))
        due = active & ((number + 1) % self._accumulate == 0)
        for i, (variable, gradient) in enumerate(zip(trained, gradients, strict=True)):

            def wide(values: tf.Tensor, ndim: int = len(variable.shape)) -> tf.Tensor:
                """[k] → [k, 1, ...], for an array of a head."""
                return tf.reshape(values, [-1] + [1] * (ndim - 1))

            momentum, velocity = self._optimizer[0][i], self._optimizer[1][i]
            if self._accumulate > 1:
                accumulated = self._optimizer[2][i]
                total = accumulated + gradient
                left = tf.where(wide(active), total, accumulated)
                accumulated.assign(tf.where(wide(due), tf.zeros_like(left), left))
                gradient = total / self._accumulate
            kept = wide(1 - self._decay * lr) if self._is_decayed(self._trained[i]) else None
            step = _fused_step if variable.shape.num_elements() >= _FUSED_FROM else _adamw_step
            moved = step(variable, gradient, momentum, velocity, wide(alpha), kept, wide(due))
            for state, value in zip((variable, momentum, velocity), moved, strict=True):
                state.assign(value)

    def _forward(
        self, x: tf.Tensor, present: tf.Tensor, count: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, list[tuple[int, tf.Tensor]]]:
        """Logits [k, b, c] of a batch in training, and new statistics by the places of weights."""
        statistics: list[tuple[int, tf.Tensor]] = []
        place = 0
        for _ in range(self._layers):
            x = self._multiply(x, self._weights[place], self._bfloat16)
            if self._batch_norm:
                share = (present / count[:, None])[..., None]
                mean = tf.reduce_sum(x * share, axis=1)
                variance = tf.reduce_sum(tf.square(x - mean[:, None]) * share, axis=1)
                statistics += [(place + 3, mean), (place + 4, variance)]
                x = self._normalize(x, mean, variance, place)
            else:
                x = self._add_bias(x, self._weights[place + 1], self._bfloat16)
            x = tf.nn.relu(x)
            place += 5 if self._batch_norm else 2
        x = self._drop(x, number)
        return self._multiply(x, self._weights[-2]) + self._weights[-1][:, None], statistics

    def _predict_rows(self, features: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        x = tf.gather(features, rows)
        place = 0
        for _ in range(self._layers):
            x = self._multiply(x, self._weights[place])
            if self._batch_norm:
                x = self._normalize(x, self._weights[place + 3], self._weights[place + 4], place)
            else:
                x = self._add_bias(x, self._weights[place + 1])
            x = tf.nn.relu(x)
            place += 5 if self._batch_norm else 2
        return self._multiply(x, self._weights[-2]) + self._weights[-1][:, None]

    @staticmethod
    def _multiply(x: tf.Tensor, kernel: tf.Tensor, bfloat16: bool = False) -> tf.Tensor:
        """[k, b, i] by [k, i, j]; in bfloat16 as a layer of Keras' policy mixed_bfloat16."""
        if not bfloat16:
            return tf.matmul(x, kernel)
        product = tf.matmul(tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16))
        return tf.cast(product, tf.float32)

    @staticmethod
    def _add_bias(x: tf.Tensor, bias: tf.Tensor, bfloat16: bool = False) -> tf.Tensor:
        if not bfloat16:
            return x + bias[:, None]
        # x holds numbers of bfloat16 already
        return tf.cast(tf.cast(x, tf.bfloat16) + tf.cast(bias[:, None], tf.bfloat16), tf.float32)

    def _normalize(
        self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, place: int
    ) -> tf.Tensor:
        gamma, beta = self._weights[place + 1], self._weights[place + 2]
        factor = gamma * tf.math.rsqrt(variance + _BN_EPSILON)
        return x * factor[:, None] + (beta - mean * factor)[:, None]

    def _drop(self, x: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Dropout; the numbers that decide depend on (seed, batch's number) of a head alone.

        Each is of 16 bits, so that a share is met to 1/65536, and drawn in half the time.
        """
        if not self._dropout.any():
            return x
        heads, batch, width = len(self._dropout), tf.shape(x)[1], x.shape[2]
        pairs = (batch * width + 1) // 2
        drawn = tf.stack(
            [
                tf.random.stateless_uniform(
                    [pairs],
                    tf.stack([self._dropout_seeds[i], tf.cast(number[i], tf.int64)]),
                    minval=None,
                    maxval=None,
                    dtype=tf.int32,
                )
                for i in range(heads)
            ]
        )
        drawn = tf.reshape(tf.bitcast(drawn, tf.uint16), [heads, -1])[:, : batch * width]
        least = np.minimum(np.round(self._dropout * 65536), 65535).astype(np.uint16)
        kept = tf.reshape(drawn, tf.shape(x)) >= tf.constant(least[:, None, None])
        factor = (1 / (1 - least / 65536)).astype(np.float32)
        return tf.where(kept, x * tf.constant(factor[:, None, None]), 0.0)


def _adamw_step(
    weights: tf.Tensor,
    gradient: tf.Tensor,
    momentum: tf.Tensor,
    velocity: tf.Tensor,
    alpha: tf.Tensor,
    kept: tf.Tensor | None,
    due: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Weights, momentum and velocity after a step, [k, ...] each.

    Args:
        weights: and the next three: [k, ...].
        gradient: of the loss.
        momentum: mean of the gradients.
        velocity: mean of their squares.
        alpha: [k, 1, ...], the learning rate, corrected for how few steps there were.
        kept: [k, 1, ...], what is left of decayed weights; None: they are not decayed.
        due: bool [k, 1, ...], of the heads that take the step; the others stay as they are.
    """
    m = momentum + (gradient - momentum) * (1 - _BETA_1)
    v = velocity + (tf.square(gradient) - velocity) * (1 - _BETA_2)
    decayed = weights if kept is None else weights * kept
    moved = decayed - m * alpha / (tf.sqrt(v) + _EPSILON)
    return tf.where(due, moved, weights), tf.where(due, m, momentum), tf.where(due, v, velocity)


# One pass over the memory instead of fifteen, a quarter of the time; other last bits
_fused_step = tf.function(_adamw_step, jit_compile=True)
