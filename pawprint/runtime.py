"""Sets TensorFlow up the same way in every stage that needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def start_tensorflow(threads: int, seed: int) -> None:
    """Import TensorFlow, quietly, with everything fixed that could change a result's bits.

    Must be called before anything else has used TensorFlow.

    Args:
        threads: of one operation. Sums are divided among them, so their number changes bits.
        seed: of Python, NumPy, TensorFlow and Keras.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import keras
        import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hide what TensorFlow's libraries write about themselves before its log level counts."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def choose_strategy(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """The strategy under whose scope a model is built: all GPUs if there are several.

    Args:
        devices: names of devices to use instead of those found, such as ``["CPU:0", "CPU:1"]``.
    """
    import tensorflow as tf

    devices = devices or [
        gpu.name[len("/physical_device:") :] for gpu in tf.config.list_physical_devices("GPU")
    ]
    return (
        tf.distribute.MirroredStrategy(devices)
        if len(devices) > 1
        else tf.distribute.get_strategy()
    )
