"""What a network says of sets of pictures: its answers with the pictures' names and labels."""

from __future__ import annotations

from collections.abc import Mapping

from pawprint.data.datasets import LabelledImages
from pawprint.evaluation.judged import Verdicts
from pawprint.evaluation.others import OtherPictures
from pawprint.networks.predictor import Predictor, predict_all, read_unlikeness


def judge_split(
    predictor: Predictor, split: LabelledImages, batch_size: int, title: str
) -> Verdicts:
    """What a classifier says of the pictures of a split.

    Args:
        predictor: of the classifier.
        split: the pictures, in whose order the answers come.
        batch_size: pictures at a time.
        title: what the progress bar says.
    """
    outputs = predict_all(predictor, split.images, batch_size, title)
    return Verdicts(split.paths, outputs[0], read_unlikeness(outputs), split.labels)


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
