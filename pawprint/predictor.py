"""Runs a model forward, as fast as this machine's TensorFlow can, over any number of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class Predictor:
    """A model in inference mode, compiled with its weights as constants.

    TensorFlow then folds batch norm into the convolutions, which Keras' ``predict`` cannot. The
    results equal those of ``model(x, training=False)`` to rounding.

    Args:
        model: pixels float32 [n, size, size, 3] in 0...255 → one or several outputs.
    """

    def __init__(self, model: keras.Model) -> None:
        shape = (None, *model.input_shape[1:])
        function = tf.function(lambda x: model(x, training=False), jit_compile=False)
        concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
        self._function = convert_variables_to_constants_v2(concrete)

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Outputs, float32 [n, ...] each, for a batch of any real type."""
        outputs = self._function(tf.constant(images.astype(np.float32)))
        return [output.numpy() for output in outputs]

    def predict(self, batches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Outputs of every batch, in order."""
        for batch in batches:
            yield self(batch)
