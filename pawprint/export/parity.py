"""Whether exported models still say what their Keras model says, each on its own runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from tqdm import tqdm

from pawprint.evaluation.metrics import Array, wilson_interval
from pawprint.export.formats import (
    ONNX,
    PIXELS,
    PROBABILITIES,
    RATIOS,
    SAVED_MODEL,
    TFLITE,
    TFLITE_INT8,
)
from pawprint.inference.classifier import Classifier
from pawprint.networks.predictor import GRAPH_BATCH, Predictor
from pawprint.runner.errors import DataError, ModelError
from pawprint.runner.params import ExportParams
from pawprint.storage.shards import ShardedArray

KERAS, OPENVINO, INT8 = "keras", "openvino", "tflite_int8"


@dataclass(frozen=True)
class Format:
    """One form of an exported model.

    Attributes:
        files: and directories, of which it consists, in the exported directory.
        open: the exported directory, a number of threads → what it says on its runtime.
    """

    files: tuple[str, ...]
    open: Callable[[Path, int], Predictor]


def _open_saved_model(directory: Path, _threads: int) -> Predictor:
    """TensorFlow has the threads with which it was started."""
    import tensorflow as tf

    network = tf.saved_model.load(str(directory / SAVED_MODEL)).signatures["serving_default"]
    return lambda images: [
        output.numpy() for output in _in_order(network(**{PIXELS: tf.constant(images)}))
    ]


def _in_order(outputs: Mapping[str, Any]) -> list[Any]:
    return [outputs[name] for name in (PROBABILITIES, RATIOS) if name in outputs]


def _open_onnx(directory: Path, threads: int) -> Predictor:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(directory / ONNX, options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: _in_order(
        dict(zip(names, session.run(names, {PIXELS: images}), strict=True))
    )


def _open_openvino(directory: Path, threads: int) -> Predictor:
    return Classifier.open(directory, threads).judge


def _open_tflite(path: Path, threads: int) -> Predictor:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(path), num_threads=threads).get_signature_runner("serving_default")
    return lambda images: _in_order(network(**{PIXELS: images}))


FORMATS = {
    OPENVINO: Format(("model.xml", "model.bin"), _open_openvino),
    SAVED_MODEL: Format((SAVED_MODEL,), _open_saved_model),
    "onnx": Format((ONNX,), _open_onnx),
    "tflite": Format((TFLITE,), lambda path, threads: _open_tflite(path / TFLITE, threads)),
    INT8: Format((TFLITE_INT8,), lambda path, threads: _open_tflite(path / TFLITE_INT8, threads)),
}


def find_formats(directory: Path) -> dict[str, Format]:
    """Those of ``FORMATS`` that an exported directory holds."""
    return {name: entry for name, entry in FORMATS.items() if (directory / entry.files[0]).exists()}


def size_bytes(directory: Path, entry: Format) -> int:
    """Of all files of a format."""
    places = [directory / name for name in entry.files]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def predict_formats(
    directory: Path, images: ShardedArray, workers: Executor, threads: int, batch_size: int
) -> dict[str, list[Array]]:
    """What each format of an exported directory says of all pictures.

    Each picture is with a single thread, a few pictures at a time: threads that share the work on
    one picture wait for each other.

    Args:
        directory: the exported one.
        images: uint8 [n, size, size, 3].
        workers: processes, of which each runs a network.
        threads: TensorFlow runs the SavedModel in this process, in so many.
        batch_size: pictures that are read at a time.

    Returns:
        Format → probabilities, float32 [n, classes], and unlikeness, float32 [n, 1], of a model
        that tells it.
    """
    starts = range(0, len(images), batch_size)
    parts = [range(i, min(i + batch_size, len(images))) for i in starts]
    found = {}
    _opened.clear()  # an earlier call may have had another directory
    with ThreadPoolExecutor(threads) as own:
        for form in find_formats(directory):
            answer = partial(_predict_part, directory, form, images.paths)
            said = (own if form == SAVED_MODEL else workers).map(answer, parts)
            bar = tqdm(said, desc=form, total=len(parts), unit="batch")
            found[form] = [np.concatenate(outputs) for outputs in zip(*bar, strict=True)]
    return found


_opened: dict[str, Predictor] = {}  # by this process; one network at a time
_opening = Lock()


def _predict_part(directory: Path, form: str, shards: list[Path], rows: range) -> list[Array]:
    with _opening:
        if form not in _opened:
            _opened.clear()
            _opened[form] = FORMATS[form].open(directory, 1)
    network, images = _opened[form], ShardedArray(shards).gather(rows)
    pairs = range(0, len(images), GRAPH_BATCH)
    said = [network(images[i : i + GRAPH_BATCH]) for i in pairs]
    return [np.concatenate(outputs) for outputs in zip(*said, strict=True)]


def measure_formats(directory: Path, source: Path) -> dict[str, int]:
    """Bytes of the ``.keras`` file that a directory was exported from, and of its formats."""
    formats = find_formats(directory).items()
    sizes = {form: size_bytes(directory, entry) for form, entry in formats}
    return {KERAS: source.stat().st_size, **sizes}


def compare(
    predictions: Mapping[str, Array], y_true: Array, sizes: Mapping[str, int], confidence: float
) -> dict[str, dict[str, float]]:
    """Scores of each format: accuracy with its interval, and how it differs from Keras.

    Args:
        predictions: format → probabilities float32 [n, classes]; one of them is ``keras``.
        y_true: int64 [n].
        sizes: format → bytes of its files.
        confidence: of the interval.

    Returns:
        For each format: size_bytes, accuracy, accuracy_low, accuracy_high (Wilson's interval); for
        all but Keras also agreement (share of pictures with the same first class) and
        largest_difference (of any probability, rounded up to one digit, since those behind it are
        noise of the arithmetic).
    """
    scores = {}
    for name, probs in predictions.items():
        right = int((probs.argmax(axis=1) == y_true).sum())
        low, high = wilson_interval(right, len(y_true), confidence) or (0.0, 1.0)
        scores[name] = {
            "size_bytes": sizes[name],
            "accuracy": round(right / len(y_true), 6),
            "accuracy_low": low,
            "accuracy_high": high,
        }
        if name != KERAS:
            same = probs.argmax(axis=1) == predictions[KERAS].argmax(axis=1)
            scores[name]["agreement"] = round(float(same.mean()), 6)
            largest = largest_differences(predictions)[name].max()
            scores[name]["largest_difference"] = round_up(float(largest))
    return scores


def largest_differences(predictions: Mapping[str, Array]) -> dict[str, Array]:
    """For each format but Keras: each picture's largest difference of a probability, float64 [n].

    Where a probability is not a number, the difference is 1.
    """
    expected = predictions[KERAS].astype(np.float64)
    return {
        name: np.nan_to_num(np.abs(probs - expected).max(axis=1), nan=1.0)
        for name, probs in predictions.items()
        if name != KERAS
    }


def round_up(value: float) -> float:
    """To one significant digit, away from zero.

    >>> round_up(1.85e-06), round_up(0.002), round_up(0.0)
    (2e-06, 0.002, 0.0)
    """
    if not value:
        return 0.0
    exponent = math.floor(math.log10(value))
    return float(f"{math.ceil(round(value / 10**exponent, 6))}e{exponent}")


def check_formats(
    predictions: Mapping[str, Array],
    scores: Mapping[str, Mapping[str, float]],
    paths: Sequence[str],
    config: ExportParams,
) -> None:
    """Refuse a model that is no longer the one that was trained, or that is not good enough.

    Args:
        predictions, scores: see ``compare``.
        paths: of the n test pictures.
        config: what is allowed. Two probabilities of Keras that lie closer than ``export.tie`` may
            change their order.

    Raises:
        ModelError: it names the format, the picture and the figures.
    """
    for name in predictions:
        if name == INT8:
            _check_agreement(scores[name]["agreement"], config.int8_min_agreement)
        elif name != KERAS:
            _check_difference(name, predictions, paths, config)
        accuracy = scores[name]["accuracy"]
        if accuracy < config.min_accuracy:
            raise ModelError(
                f"export: {name}: accuracy {accuracy:.4f} on the test split, below "
                f"export.min_accuracy = {config.min_accuracy}; train a better model, or lower it"
            )


def _check_agreement(agreement: float, least: float) -> None:
    if agreement < least:
        raise ModelError(
            f"export: {INT8}: {agreement:.4f} of the test pictures have Keras' class, fewer than "
            f"export.int8_min_agreement = {least}; raise export.calibration, or export without int8"
        )


def _check_difference(
    name: str, predictions: Mapping[str, Array], paths: Sequence[str], config: ExportParams
) -> None:
    remedy = "run dvc repro with the versions of requirements.txt, or choose another export.model"
    differences = largest_differences(predictions)[name]
    worst = int(differences.argmax())
    if differences[worst] > config.tolerance:
        raise ModelError(
            f"export: {name}: a probability of {paths[worst]} differs from Keras' by "
            f"{differences[worst]:.3g}, more than export.tolerance = {config.tolerance}; {remedy}"
        )
    expected, y_pred = predictions[KERAS], predictions[name].argmax(axis=1)
    leads = expected.max(axis=1) - expected[np.arange(len(y_pred)), y_pred]
    worst = int(leads.argmax())
    if leads[worst] > config.tie:
        raise ModelError(
            f"export: {name}: another class than Keras' for {paths[worst]}, although the two "
            f"probabilities lie {leads[worst]:.3g} apart, more than export.tie = {config.tie}; "
            f"{remedy}"
        )


def find_evaluated(evaluated: Array, judged: Sequence[str], paths: Sequence[str]) -> Array:
    """What stage evaluate found for the test pictures, in their order.

    Args:
        evaluated: float32 [n, classes].
        judged: paths of its n pictures.
        paths: of the test pictures.

    Raises:
        DataError: evaluate saw other pictures.
    """
    rows = {path: row for row, path in enumerate(judged)}
    if set(rows) != set(paths) or len(evaluated) != len(rows):
        raise DataError(
            f"export: expected the {len(paths)} test pictures in what stage evaluate wrote, found "
            f"{len(evaluated)}, {len(set(rows) & set(paths))} of them the same; run dvc repro"
        )
    return evaluated[[rows[path] for path in paths]]


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """What ``compare`` found, and size_bytes, as lines to read."""
    lines = ["format         same class  largest difference   accuracy  (interval)            MB"]
    for name, found in scores.items():
        same, largest = found.get("agreement"), found.get("largest_difference")
        lines.append(
            f"{name:<12}"
            f"{'' if same is None else f'{100 * same:.2f} %':>13}"
            f"{'' if largest is None else f'{largest:.0e}':>20}"
            f"{100 * found['accuracy']:>9.2f} %  "
            f"({100 * found['accuracy_low']:.2f} to {100 * found['accuracy_high']:.2f} %)"
            f"{found['size_bytes'] / 1e6:>10.1f}"
        )
    return "\n".join(lines)
