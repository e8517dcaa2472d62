"""The baseline in the form in which it trains fastest: the same function, the same weights.

Keras computes batch norm in a dozen operations, each of which goes through the whole map.
TensorFlow has one operation for all of it, and one for its gradient. Max-pooling before ReLU gives
the same as after it, and leaves ReLU a quarter of the work.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

_OF_MAPS = (layers.Conv2D, layers.BatchNormalization, layers.ReLU, layers.MaxPooling2D)


class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' batch norm of maps [n, h, w, c] over n, h and w, computed by one operation.

    Source: Ioffe & Szegedy, Batch Normalization (2015), algorithms 1 and 2.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        learning = bool(training and self.trainable)
        found = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[] if learning else self.moving_mean,
            variance=[] if learning else self.moving_variance,
            epsilon=self.epsilon,
            is_training=learning,
        )
        if not learning:
            return found.y
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
        variance = found.batch_variance * (count - 1) / count  # it is the unbiased one
        for moving, batch in (
            (self.moving_mean, found.batch_mean),
            (self.moving_variance, variance),
        ):
            moving.assign(self.momentum * moving + (1.0 - self.momentum) * batch)
        return found.y


def quick_form(baseline: keras.Model, precision: str) -> keras.Model:
    """A copy of the baseline to train; ``get_weights`` of both have the same order.

    Args:
        baseline: from ``build_baseline``; not changed.
        precision: of the maps: ``float32`` or ``bfloat16``. The weights, batch norm's statistics
            and what comes before and after the maps are float32.

    Returns:
        float32 [n, size, size, 3] pixels → float32 [n, num_classes] logits.
    """
    x = inputs = keras.Input(baseline.input_shape[1:], name=baseline.input.name)
    for layer in _pooled_before_relu(baseline.layers[1:]):
        config = layer.get_config()
        if precision != "float32" and isinstance(layer, _OF_MAPS):
            config["dtype"] = f"mixed_{precision}"
        kind = type(layer)
        kind = FusedBatchNormalization if kind is layers.BatchNormalization else kind
        x = kind.from_config(config)(x)
    copy = keras.Model(inputs, x, name=baseline.name)
    copy.set_weights(baseline.get_weights())
    return copy


def _pooled_before_relu(row: list[keras.Layer]) -> list[keras.Layer]:
    """The same layers, each max-pooling before the ReLU that it follows."""
    row = list(row)
    for i in range(1, len(row)):
        if isinstance(row[i - 1], layers.ReLU) and isinstance(row[i], layers.MaxPooling2D):
            row[i - 1], row[i] = row[i], row[i - 1]
    return row
