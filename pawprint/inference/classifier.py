"""A model ready for use: pictures' bytes → probabilities and heatmaps.

An exported model is a directory, which needs neither Keras nor TensorFlow:
    model.xml, model.bin    the network as an OpenVINO graph: pixels → probabilities, unlikeness
                            where it tells that, feature map; of an ensemble, one of each member
    gradcam.npz             the layers behind the feature maps, for Grad-CAM
    model.json              the card: what the model is; and the digests of the other files
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pawprint.inference.exported import CARD, GRAPH, TAIL, WEIGHTS, damaged, read_card, read_network
from pawprint.inference.gradcam import TailLayer, save_tail
from pawprint.inference.members import check_tails, mean_heatmaps, split_off_tails
from pawprint.networks.graph_files import check_graph
from pawprint.networks.model_files import ModelInfo, open_model
from pawprint.networks.predictor import (
    OpenVinoPredictor,
    Predictor,
    build_predictor,
    read_unlikeness,
)
from pawprint.pictures.images import FULL_RANGE, decode_image
from pawprint.registry.resizing import STRETCH, Resize
from pawprint.runner.errors import ModelError, one_line
from pawprint.runner.files import file_digest
from pawprint.runner.processes import available_cores
from pawprint.storage.tables import write_json

if TYPE_CHECKING:
    import keras

# Pictures come to a server one by one, and a graph for two takes twice as long for each of those.
# Where there are many, two at a time save 2 %. The bits are the same.
BATCH = 1
# A .keras file does not say how many pixels are too many; Pillow refuses more than these itself
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
UNLIKE_ABOVE = 1.0  # of a .keras file, which does not say it either: where validation is rejected
LIMIT_OF_MODEL = "the model's max_pixels"  # as messages name it


@dataclass(frozen=True)
class ModelCard:
    """What an exported model says of itself.

    Attributes:
        name: of the model, such as ``finetuned``.
        class_names: in the order of the probabilities.
        image_size: side of the square input in pixels.
        max_pixels: pictures with more pixels are refused.
        augment: section ``augment`` of params.yaml, as the model was trained; empty: unknown.
        hashes: MD5, as in dvc.lock, of what the model was made of, by path.
        metrics: of the model on the test split.
        versions: of the packages that made it, by name.
        max_value: white in pictures of 16 bits; 0: the type's full range. Older cards lack it.
        val_log_losses: of all models, by name, where this was exported as the best of them; empty
            where it was named. Older cards lack it.
        tta: 2 where the network itself gives the mean of a picture and its mirror image, and its
            metrics are of that; else 1. Older cards lack it.
        resize: how a picture becomes a square. Older cards lack it, and mean ``stretch``.
        unlike_above: ``unlikeness.k``: a picture is unlike the training pictures where its ratio is
            above this; None where the model does not tell it. Older cards lack it.
        deciding: what stage deciding says of the model, see ``pawprint.deciding.rule``; empty:
            nothing is known. Older cards lack it.
    """

    name: str
    class_names: list[str]
    image_size: int
    max_pixels: int
    augment: dict[str, Any]
    hashes: dict[str, str]
    metrics: dict[str, Any]
    versions: dict[str, str]
    max_value: int = FULL_RANGE
    val_log_losses: dict[str, float] = field(default_factory=dict)
    tta: int = 1
    resize: Resize = STRETCH
    unlike_above: float | None = None
    deciding: dict[str, Any] = field(default_factory=dict)


def embedded(card: ModelCard) -> dict[str, str]:
    """What each exported file says of itself: name, class_names, image_size, resize, tta, hashes.

    And unlike_above, where the model tells unlikeness. All but the name is JSON.
    """
    keys = ["class_names", "image_size", "resize", "tta", "hashes"]
    keys += ["unlike_above"] if card.unlike_above is not None else []
    values = {key: getattr(card, key) for key in keys}
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    return {"name": card.name, **texts}


class Classifier:
    """A network with its card. It is all in memory: its files may change.

    Attributes:
        card: of the model.
        digest: a SHA-256 in hexadecimal that changes with the model: of the bytes of its ``.keras``
            file, or of its exported card, which holds the digests of the other files.

    Args:
        predictor: uint8 pixels → probabilities, unlikeness where it tells that, feature maps.
        tail: the layers behind the feature maps, see ``pawprint.inference.members``.
    """

    def __init__(
        self, card: ModelCard, digest: str, predictor: Predictor, tail: list[TailLayer]
    ) -> None:
        self.card = card
        self.digest = digest
        self._predictor = predictor
        self._tail = tail

    @classmethod
    def open(cls, path: Path, cores: int | None = None) -> Classifier:
        """Open a model, from its exported directory or from a ``.keras`` file of the pipeline.

        A directory runs on OpenVINO. A ``.keras`` file takes longer, for it needs Keras, and runs
        on this process's engine, or on OpenVINO where none was started.

        Args:
            path: of the directory or file.
            cores: how many OpenVINO may use; all if None.

        Raises:
            ModelError: it is missing, damaged, or not a classifier.
        """
        if not (path.is_file() if path.suffix == ".keras" else path.is_dir()):
            raise ModelError(
                f"{path.absolute()}: no such model; expected a directory that stage export wrote, "
                "or a .keras file: run this from the project's root, after dvc repro, or name a "
                "model by --model PATH"
            )
        if path.suffix == ".keras":
            return cls._open_keras(path, cores)
        content, digest = read_card(path)
        card = _parse_card(path / CARD, content)
        graph, tail = read_network(path, content["files"])
        try:
            check_graph(graph, card.image_size, card.tta)
            predictor = OpenVinoPredictor(graph, "float32", cores or available_cores())
            shape = (1, card.image_size, card.image_size, 3)
            outputs = predictor(np.zeros(shape, np.uint8))
        except (ValueError, RuntimeError) as error:
            raise damaged(path / GRAPH, error) from None
        if outputs[0].shape[1] != len(card.class_names):
            reason = f"{len(card.class_names)} class_names, expected {outputs[0].shape[1]}"
            raise damaged(path / CARD, reason)
        if (read_unlikeness(outputs) is None) != (card.unlike_above is None):
            raise damaged(path / CARD, f"unlike_above: found {card.unlike_above} in vain")
        try:
            shapes = [found.shape[1:] for found in _maps(outputs)]
            check_tails(tail, shapes, len(card.class_names))
        except ValueError as error:
            raise damaged(path / TAIL, error) from None
        return cls(card, digest, predictor, tail)

    @classmethod
    def _open_keras(cls, path: Path, cores: int | None) -> Classifier:
        with open_model(path) as file:
            info = file.info
            if not info.class_names:
                raise ModelError(
                    f"{path}: a network without classes; expected a classifier, "
                    "such as models/finetuned.keras"
                )
            if "keras" not in sys.modules:
                from pawprint.networks.runtime import start_engine

                start_engine("openvino", available_cores())
            model = file.load()
        size, num_classes = info.image_size, len(info.class_names)
        try:
            network, tail = split_off_tails(model)
            found = [output.shape for output in model.outputs]
            if network.input_shape != (None, size, size, 3) or found not in (
                [(None, num_classes)],
                [(None, num_classes), (None, 1)],
            ):
                raise ValueError(f"it takes {network.input_shape} and gives {found}")
            maps = network.outputs[len(found) :]
            check_tails(tail, [output.shape[1:] for output in maps], num_classes)
            predictor = build_predictor(network, cores=cores)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        except Exception as error:  # Keras has errors of many types for what loads and cannot run
            text = f"not a classifier of {num_classes} classes at {size} px ({one_line(error)})"
            raise ModelError(f"{path}: {text}; run dvc repro") from None
        of = path.stem, info.class_names, size, MAX_PIXELS
        above = UNLIKE_ABOVE if len(found) > 1 else None
        card = ModelCard(*of, {}, {}, {}, {}, resize=info.resize, unlike_above=above)
        return cls(card, file.digest, predictor, tail)

    def decode(self, content: bytes) -> np.ndarray:
        """A picture's bytes → uint8 [size, size, 3], RGB in 0...255, as the pipeline decodes it.

        Raises:
            ImageError: the reason in a few words.
        """
        card = self.card
        limits = card.max_pixels, card.max_value
        return decode_image(content, card.image_size, *limits, resize=card.resize)

    def probs(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [n, classes] of uint8 [n, size, size, 3]; one caller at a time.

        A picture's probabilities do not depend on the others, and are those of stage evaluate:
        where ``card.tta`` is 2, means with the mirror image already.
        """
        return self._predictor(images)[0]

    def judge(self, images: np.ndarray) -> list[np.ndarray]:
        """Probabilities, as of ``probs``, and unlikeness where ``card.unlike_above`` is not None.

        Args:
            images: uint8 [n, size, size, 3]; one caller at a time.

        Returns:
            float32 [n, classes]; and the ratio d / t, float32 [n, 1], see ``pawprint.unlikeness``.
        """
        return [output for output in self._predictor(images) if output.ndim == 2]

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What it says of pictures, and what it sees in them; one caller at a time.

        Args:
            images: uint8 [n, size, size, 3].

        Returns:
            Probabilities, float32 [n, classes], and the means of the feature map's channels,
            float32 [n, d]; of an ensemble, those of all members side by side.
        """
        said, means = self.judge_features(images)
        return said[0], means

    def judge_features(self, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """What ``judge`` gives, and the features of ``features``, in one run."""
        outputs = self._predictor(images)
        means = [found.mean(axis=(1, 2), dtype=np.float32) for found in _maps(outputs)]
        said = [output for output in outputs if output.ndim == 2]
        return said, np.concatenate(means, axis=1)

    def heatmaps(self, images: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
        """Where the evidence for a class of each picture lies; one caller at a time.

        It is that of the picture as it is, whatever ``card.tta`` says.

        Args:
            images: uint8 [n, size, size, 3].
            classes: int [n].

        Returns:
            float32 [n, h, w] in 0...1, see ``pawprint.inference.members.mean_heatmaps``.
        """
        return mean_heatmaps(self._tail, _maps(self._predictor(images)), np.asarray(classes))


def _maps(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [output for output in outputs if output.ndim == 4]


def save_classifier(model: keras.Model, card: ModelCard, directory: Path) -> None:
    """Write a model for ``Classifier.open``: the same model and card are the same bytes.

    Keras must run on its OpenVINO backend, see ``pawprint.networks.runtime``.

    Args:
        model: a saved classifier, pixels → probabilities, and unlikeness where it tells that.
        card: what is written with it; with its ``tta`` 2, what is written averages.
        directory: made if missing; other files in it stay.

    Raises:
        ModelError: the model is not a classifier, or Grad-CAM does not know one of its layers.
    """
    import openvino as ov

    from pawprint.networks.openvino_graph import average_mirrored, build_graph, number_names

    network, tail = split_off_tails(model)
    directory.mkdir(parents=True, exist_ok=True)
    graph = build_graph(network, BATCH * card.tta)
    if card.tta == 2:
        graph = average_mirrored(graph)
    number_names(graph)
    for key, value in embedded(card).items():
        graph.set_rt_info(value, ["pawprint", key])
    ov.serialize(graph, directory / GRAPH)
    save_tail(directory / TAIL, tail)
    digests = {name: file_digest(directory / name) for name in (GRAPH, WEIGHTS, TAIL)}
    write_json(directory / CARD, {**asdict(card), "files": digests})


def _parse_card(path: Path, content: dict[str, Any]) -> ModelCard:
    """The card of JSON that anybody may have written; `path` is for the message."""
    older = {"max_value": FULL_RANGE, "val_log_losses": {}, "tta": 1, "resize": STRETCH}
    older |= {"unlike_above": None, "deciding": {}}
    content = {**older, **content}
    try:
        card = ModelCard(**{entry.name: content[entry.name] for entry in fields(ModelCard)})
        ModelInfo(card.class_names, card.image_size, card.resize).check()
    except (KeyError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from None
    for key, fits in {
        "name": isinstance(card.name, str),
        "max_pixels": type(card.max_pixels) is int and 0 < card.max_pixels <= MAX_PIXELS,
        "max_value": type(card.max_value) is int and 0 <= card.max_value <= 65_535,
        "augment": isinstance(card.augment, dict),
        "hashes": _holds_texts(card.hashes),
        "metrics": isinstance(card.metrics, dict),
        "versions": _holds_texts(card.versions),
        "val_log_losses": _holds_numbers(card.val_log_losses),
        "tta": type(card.tta) is int and card.tta in (1, 2),
        "unlike_above": _is_threshold(card.unlike_above),
        "deciding": isinstance(card.deciding, dict),
        "files": _holds_texts(content.get("files")),
    }.items():
        if not fits:
            raise damaged(path, f"{key}: found {content.get(key)!r}")
    return card


def _is_threshold(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None
    return 0 < value < math.inf


def _holds_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _holds_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(number, int | float) and math.isfinite(number) for number in value.values()
    )
