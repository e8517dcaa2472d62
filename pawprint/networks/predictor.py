"""Runs a network forward over any number of batches, on one of two engines.

OpenVINO is by far the fastest on CPUs, TensorFlow drives GPUs. Both take the same ``.keras`` files;
``pawprint.networks.runtime.start_engine`` chooses, once for a process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from tqdm import tqdm

from pawprint.networks.graph_files import load_graph
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.networks.runtime import openvino_core
from pawprint.runner.processes import available_cores

if TYPE_CHECKING:
    import keras
    import openvino as ov

Precision = Literal["float32", "bfloat16"]
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # what OpenVINO calls them
GRAPH_BATCH = 2  # what a core's own cache holds; larger ones run slower on CPUs


class Predictor(Protocol):
    """A network in inference mode."""

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Outputs, float32 [n, ...] each, for uint8 [n, size, size, 3] in 0...255."""
        ...


class PictureSource(Protocol):
    """PictureSource that are read while they are asked for, such as a ``ShardedArray``."""

    def __len__(self) -> int:
        """How many there are, at most."""
        ...

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All in order, uint8 [k, size, size, 3], k up to ``size``."""
        ...


def build_predictor(
    model: keras.Model, precision: Precision = "float32", cores: int | None = None
) -> Predictor:
    """Prepare a model for inference on this process's engine.

    Args:
        model: float32 pixels [n, size, size, 3] in 0...255 → one or several outputs.
        precision: ``float32``, whose results equal those of Keras to rounding, or ``bfloat16``,
            faster on CPUs that have it; outputs are float32 either way.
        cores: how many OpenVINO may use; all if None.
    """
    import keras

    if keras.config.backend() == "tensorflow":
        return TensorFlowPredictor(model, precision)
    from pawprint.networks.openvino_graph import build_graph

    graph = build_graph(model, GRAPH_BATCH)
    return OpenVinoPredictor(graph, precision, cores or available_cores())


def save_network(model: keras.Model, layers: list[str], path: Path) -> Path:
    """Write a network for ``open_predictor``, in the form of this process's engine.

    Args:
        model: float32 pixels [n, size, size, 3] in 0...255 → anything.
        layers: whose outputs are wanted.
        path: without its suffix, which is added: ``.xml`` (with a ``.bin``) or ``.keras``.

    Returns:
        The path of the file.
    """
    import keras

    network = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    path.parent.mkdir(parents=True, exist_ok=True)
    if keras.config.backend() == "tensorflow":
        path = path.with_suffix(".keras")
        save_model(network, path, ModelInfo([], model.input_shape[1]))
        return path
    import openvino as ov

    from pawprint.networks.openvino_graph import build_graph

    path = path.with_suffix(".xml")
    ov.serialize(build_graph(network, GRAPH_BATCH), path)
    return path


def find_network(path: Path) -> Path:
    """The file that ``save_network`` wrote for this path, whatever its engine was."""
    return next(p for p in map(path.with_suffix, (".xml", ".keras")) if p.exists())


def open_predictor(path: Path, precision: Precision, cores: int) -> Predictor:
    """Open what ``save_network`` wrote; a ``.xml`` file needs neither Keras nor TensorFlow.

    Args:
        path: of the file.
        precision: see ``build_predictor``.
        cores: how many OpenVINO may use.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if path.suffix == ".xml":
        return OpenVinoPredictor(load_graph(path), precision, cores)
    return TensorFlowPredictor(load_model(path), precision)


def average_views(predictor: Predictor, views: int) -> Predictor:
    """Test-time augmentation: the mean of what a network says of a picture and its mirror image.

    Args:
        predictor: of the network.
        views: 1, the picture as it is: the predictor itself; or 2, with its mirror image.

    >>> def left(images: np.ndarray) -> list[np.ndarray]:
    ...     return [images[:, :, 0].mean(axis=(1, 2), dtype=np.float32)]
    >>> pixels = np.array([[[[9, 9, 9], [0, 0, 0], [2, 2, 2]]]], np.uint8)  # 1 high, 3 wide
    >>> left(pixels)[0].tolist(), average_views(left, 2)(pixels)[0].tolist()
    ([9.0], [5.5])
    """
    if views == 1:
        return predictor

    def mean(images: np.ndarray) -> list[np.ndarray]:
        mirrored = predictor(np.ascontiguousarray(images[:, :, ::-1]))
        pairs = zip(predictor(images), mirrored, strict=True)
        return [(plain + other) / np.float32(2) for plain, other in pairs]

    return mean


def predict(predictor: Predictor, batches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Outputs of every batch, in order."""
    for batch in batches:
        yield predictor(batch)


def predict_all(
    predictor: Predictor, images: PictureSource, batch_size: int, title: str
) -> list[np.ndarray]:
    """The outputs of a network for all pictures, float32 [n, ...] each, with a progress bar.

    Args:
        predictor: of the network.
        images: uint8 [n, size, size, 3]; of none, there are no outputs.
        batch_size: pictures at a time.
        title: what the bar says.
    """
    total = -(-len(images) // batch_size)
    batches = tqdm(images.batches(batch_size), desc=title, total=total, unit="batch")
    found = zip(*predict(predictor, batches), strict=True)
    return [np.concatenate(parts) for parts in found]


def read_unlikeness(outputs: Sequence[np.ndarray]) -> np.ndarray | None:
    """The ratio d / t of each picture, see ``pawprint.unlikeness.network``.

    Args:
        outputs: of a classifier: probabilities, unlikeness where it has that, feature maps.

    Returns:
        float32 [n]; None where it has none.
    """
    return outputs[1][:, 0] if len(outputs) > 1 and outputs[1].ndim == 2 else None


class OpenVinoPredictor:
    """An OpenVINO graph, each core working on its own pictures.

    A picture's results depend neither on its neighbours in the batch nor on the number of cores.

    Args:
        graph: from ``build_graph`` or ``load_graph``.
        precision: of the arithmetic.
        cores: how many pictures' batches run at a time.
    """

    def __init__(self, graph: ov.Model, precision: Precision, cores: int) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
            "ENABLE_CPU_PINNING": False,  # or every process would take the same first core
        }
        self._network = openvino_core().compile_model(graph, "CPU", options)
        # Not an AsyncInferQueue with a callback: its threads may let go of that after the results
        # are there, for which they need Python, and end the process where Python is ending
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(2 * cores):  # while one's results are kept, a core has the next
            self._idle.put(self._network.create_infer_request())

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        size = self._network.input(0).shape[0]
        count = len(images)
        padded = -(-count // size) * size
        outputs = [
            np.empty((padded, *output.shape[1:]), np.float32) for output in self._network.outputs
        ]
        begun: deque[tuple[ov.InferRequest, int]] = deque()
        try:
            for start in range(0, count, size):
                batch = images[start : start + size]
                if len(batch) < size:
                    missing = np.zeros((size - len(batch), *images.shape[1:]), images.dtype)
                    batch = np.concatenate([batch, missing])
                request = self._take(begun, outputs)
                begun.append((request, start))
                request.start_async({0: batch})
            while begun:
                self._idle.put(_finish(begun, outputs))
        finally:
            for request, _ in begun:  # left over by an error
                with suppress(RuntimeError):
                    request.wait()
                self._idle.put(request)
        return [output[:count] for output in outputs]

    def _take(
        self, begun: deque[tuple[ov.InferRequest, int]], outputs: list[np.ndarray]
    ) -> ov.InferRequest:
        """An idle request, the oldest of those that were begun, or, of none, another thread's."""
        try:
            return self._idle.get(block=not begun)
        except Empty:
            return _finish(begun, outputs)


def _finish(
    begun: deque[tuple[ov.InferRequest, int]], outputs: list[np.ndarray]
) -> ov.InferRequest:
    """Wait for the oldest request, and keep its results, from its row on."""
    request, start = begun[0]
    request.wait()
    for i, output in enumerate(outputs):
        rows = request.get_output_tensor(i).data
        output[start : start + len(rows)] = rows
    begun.popleft()
    return request


class TensorFlowPredictor:
    """A model compiled by TensorFlow with its weights as constants.

    TensorFlow then folds batch norm into the convolutions, which Keras' ``predict`` cannot.

    Args:
        model: float32 inputs → one or several outputs.
        precision: of the arithmetic.
        dtype: in which its inputs come: those of pixels, or of activations on disk.
    """

    def __init__(
        self, model: keras.Model, precision: Precision = "float32", dtype: str = "uint8"
    ) -> None:
        import tensorflow as tf

        # Not public, and nothing public does it: see tests/test_private_sides.py
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        from pawprint.networks.architectures import with_precision

        model = model if precision == "float32" else with_precision(model, precision)

        def forward(inputs: tf.Tensor) -> list[tf.Tensor]:
            outputs = model(tf.cast(inputs, tf.float32), training=False)
            outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
            return [tf.cast(output, tf.float32) for output in outputs]

        shape = (None, *model.input_shape[1:])
        function = tf.function(forward, jit_compile=False)
        concrete = function.get_concrete_function(tf.TensorSpec(shape, dtype))
        self._function = convert_variables_to_constants_v2(concrete)
        self._constant = tf.constant

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in self._function(self._constant(images))]
