"""What a classifier says of sets of pictures: its answers with the pictures' names and labels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pawprint.data.datasets import LabelledImages
from pawprint.evaluation.judged import Verdicts
from pawprint.evaluation.others import OtherPictures
from pawprint.networks.predictor import (
    Predictor,
    average_views,
    build_predictor,
    open_predictor,
    predict_all,
    read_unlikeness,
    save_network,
)
from pawprint.runner.journal import (
    ShardTask,
    Tool,
    send_shards,
    tell_work_stays,
    works_elsewhere,
)
from pawprint.storage.shards import ShardedArray

if TYPE_CHECKING:
    import keras


class Judge:
    """A classifier that answers for pictures; those of a split by an engine for shards, if any.

    Args:
        model: pixels → probabilities, and unlikeness where it tells that.
        views: see ``average_views``.
        batch_size: pictures at a time.
    """

    def __init__(self, model: keras.Model, views: int, batch_size: int) -> None:
        self._model, self._views, self._batch_size = model, views, batch_size

    def judge_split(self, split: LabelledImages, title: str) -> Verdicts:
        """What it says of the pictures of a split, in whose order the answers come.

        Args:
            split: the pictures.
            title: what the progress bar says.
        """
        outputs = self._predict(split.images, title)
        return Verdicts(split.paths, outputs[0], read_unlikeness(outputs), split.labels)

    @cached_property
    def predictor(self) -> Predictor:
        """The same on this machine: pixels → probabilities, and unlikeness."""
        return average_views(build_predictor(self._model), self._views)

    def _predict(self, images: ShardedArray, title: str) -> list[np.ndarray]:
        import keras

        on_openvino = keras.config.backend() == "openvino"
        if not on_openvino:
            tell_work_stays(title)
        if not on_openvino or not works_elsewhere():
            return predict_all(self.predictor, images, self._batch_size, title)
        starts = range(0, len(images), self._batch_size)
        batches = [range(i, min(i + self._batch_size, len(images))) for i in starts]
        with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
            network = save_network(
                self._model, self._model.output_names, Path(directory, "network")
            )
            files = (network, network.with_suffix(".bin"))
            tool = Tool(files, partial(_open_views, name=network.name, views=self._views))
            shard_task = ShardTask(
                lambda rows: (images.gather(rows), None), _answer, _keep, len, tool
            )
            found = send_shards(shard_task, batches, title)
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def judge_others(
    predictor: Predictor, others: Mapping[str, OtherPictures], batch_size: int
) -> dict[str, Verdicts]:
    """What a classifier says of pictures of none of its classes, by their kind.

    Args:
        predictor: of the classifier.
        others: by kind; which of them could be decoded stands there afterwards. A kind of which
            none could be is left out.
        batch_size: pictures at a time.
    """
    found = {}
    for kind, pictures in others.items():
        if outputs := predict_all(predictor, pictures, batch_size, kind):
            paths = [str(path) for path in pictures.read]
            found[kind] = Verdicts(paths, outputs[0], read_unlikeness(outputs))
    return found


def _open_views(directory: Path, name: str, views: int) -> Predictor:
    return average_views(open_predictor(directory / name, "float32", cores=1), views)


def _answer(images: np.ndarray, predictor: Predictor) -> list[np.ndarray]:
    return predictor(images)


def _keep(batch: range, _: None, outputs: list[np.ndarray]) -> list[np.ndarray]:
    return outputs
