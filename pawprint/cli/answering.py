"""Decoded pictures → what the command line says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pawprint.answers.ranking import rank_classes
from pawprint.cli.answers import Answer
from pawprint.cli.reading import Source
from pawprint.inference.classifier import ModelCard
from pawprint.networks.predictor import Predictor

BATCH_SIZE = 32

# Sources, uint8 [n, size, size, 3] and probabilities → the path of a heatmap for each
Draw = Callable[[Sequence[Source], np.ndarray, np.ndarray], Sequence[str]]


def answer_batch(
    batch: Sequence[tuple[Source, np.ndarray | str]],
    card: ModelCard,
    predictor: Predictor,
    top: int,
    draw: Draw | None = None,
) -> list[Answer]:
    """Answers of some pictures, in order.

    Args:
        batch: each with uint8 [size, size, 3] in 0...255, or with the reason why it has none.
        card: of the model.
        predictor: pixels → probabilities.
        top: classes to name.
        draw: what writes heatmaps, if they are wanted.
    """
    good = [(source, image) for source, image in batch if isinstance(image, np.ndarray)]
    shape = (len(good), card.image_size, card.image_size, 3)
    images = np.array([image for _, image in good], np.uint8).reshape(shape)
    (probs,) = predictor(images)
    drawn = draw([source for source, _ in good], images, probs) if draw else [""] * len(good)
    found = zip(probs, drawn, strict=True)
    answers = []
    for source, image in batch:
        if isinstance(image, str):
            answers.append(Answer(source.path, [], image))
        else:
            row, overlay = next(found)
            ranking = rank_classes(row, card.class_names, top)
            answers.append(Answer(source.path, ranking, overlay=overlay))
    return answers
