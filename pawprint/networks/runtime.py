"""Starts what computes: TensorFlow for training, or the engine that only runs networks forward.

Both are reached through Keras, which has one backend a process: call one of these functions first.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    import openvino as ov
    import tensorflow as tf

Engine = Literal["auto", "openvino", "tensorflow"]
# Whoever imports OpenVINO is reported to a server of Google's, unless this cannot be imported
sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def start_engine(engine: Engine, threads: int, seed: int = 0) -> str:
    """Choose what runs networks forward in this process; say so if the choice was left to it.

    OpenVINO starts without TensorFlow.

    Args:
        engine: ``auto``: TensorFlow if it can use an NVIDIA GPU, OpenVINO otherwise.
        threads: of TensorFlow; OpenVINO uses all cores, and its results do not depend on them.
        seed: of Python, NumPy and Keras: random weights follow from it.

    Returns:
        The engine's name.
    """
    if engine == "auto":
        engine, reason = _choose_engine()
        print(f"networks run on {engine}: {reason}", flush=True)
    if engine == "tensorflow":
        start_tensorflow(threads, seed)
        return engine
    os.environ["KERAS_BACKEND"] = "openvino"
    with _quick_import():
        import keras
    # Keras would import it to seed it, too. It asks once whether TensorFlow is there, also to save
    with hidden("tensorflow"):
        keras.utils.set_random_seed(seed)
    _ignore_settings_of_the_user()
    return engine


def _choose_engine() -> tuple[Engine, str]:
    """The faster engine here, and why; TensorFlow is asked only where there may be a GPU."""
    if not NVIDIA_DRIVER.exists():
        return "openvino", "no NVIDIA GPU"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return "tensorflow", f"{len(gpus)} NVIDIA GPU{'s' if len(gpus) > 1 else ''}"
    return "openvino", "there is an NVIDIA driver, but no GPU that TensorFlow can use"


def _ignore_settings_of_the_user() -> None:
    """Set what ``keras.json`` in the user's home may have set otherwise."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def start_tensorflow(threads: int, seed: int) -> None:
    """Import TensorFlow, quietly, with everything fixed that could change a result's bits.

    Must be called before anything else has used TensorFlow.

    Args:
        threads: of one operation. Sums are divided among them, so their number changes bits.
        seed: of Python, NumPy, TensorFlow and Keras.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow itself turns oneDNN on only for processors with AVX-512's or AMX's products of
    # small numbers; on those with AVX2 alone, too, it trains twice as fast
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    with _quiet_stderr(), _quick_import():
        import keras
        import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    _ignore_settings_of_the_user()


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import Keras in less than two thirds of the time.

    It makes a million objects that stay, among which the garbage collector would look for others.
    """
    gc.disable()
    try:
        # For wrappers, galleries of pictures and notebooks, of which nothing here uses any
        with hidden("sklearn"), hidden("matplotlib"), hidden("IPython"):
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def hidden(library: str) -> Iterator[None]:
    """Let a library seem not to be installed; others that can do without it need not wait for it.

    That they can is not promised: see tests/test_private_sides.py.

    Args:
        library: its name; if it has been imported already, it stays as it is.
    """
    if library in sys.modules:
        yield
        return
    sys.modules[library] = cast(ModuleType, None)  # an import of it fails
    try:
        yield
    finally:
        del sys.modules[library]


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


@cache
def openvino_core() -> ov.Core:
    """The one ``Core`` of this process, which stays.

    Each has signals handled on a stack of its own, and gives back that of the one before when it
    ends. Of two that end in the order in which they began, the second gives back one that is gone:
    the next signal, such as Ctrl-C, would end the process with a segmentation fault.
    """
    import openvino as ov

    return ov.Core()


def choose_strategy(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """The strategy under whose scope a model is built: all GPUs if there are several.

    Args:
        devices: names of devices to use instead of those found, such as ``["CPU:0", "CPU:1"]``.
    """
    import tensorflow as tf

    # The names' beginning is TensorFlow's own: see tests/test_private_sides.py
    devices = devices or [
        gpu.name[len("/physical_device:") :] for gpu in tf.config.list_physical_devices("GPU")
    ]
    return (
        tf.distribute.MirroredStrategy(devices)
        if len(devices) > 1
        else tf.distribute.get_strategy()
    )


def choose_precision(precision: str) -> str:
    """The arithmetic of training: ``auto`` becomes ``bfloat16`` where the hardware has it.

    Args:
        precision: ``auto``, ``float32`` or ``bfloat16``.
    """
    if precision != "auto":
        return precision
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        has_it = all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in details)
    else:
        has_it = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if has_it else "float32"
