"""Decoded pictures → what the command line says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pawprint.answers.ranking import rank_classes
from pawprint.answers.unlikeness import tell_unlikeness
from pawprint.cli.answers import Answer
from pawprint.cli.reading import Source
from pawprint.deciding.rule import Rule
from pawprint.inference.classifier import ModelCard
from pawprint.networks.predictor import Predictor, read_unlikeness

BATCH_SIZE = 32

# Sources, uint8 [n, size, size, 3] and probabilities → the path of a heatmap for each
Draw = Callable[[Sequence[Source], np.ndarray, np.ndarray], Sequence[str]]


def answer_batch(
    batch: Sequence[tuple[Source, np.ndarray | str]],
    card: ModelCard,
    predictor: Predictor,
    top: int,
    draw: Draw | None = None,
    rule: Rule | None = None,
) -> list[Answer]:
    """Answers of some pictures, in order.

    Args:
        batch: each with uint8 [size, size, 3] in 0...255, or with the reason why it has none.
        card: of the model.
        predictor: pixels → probabilities, and unlikeness where the model tells that.
        top: classes to name.
        draw: what writes heatmaps, if they are wanted.
        rule: by which the model decides alone; None: it is not asked.
    """
    good = [(source, image) for source, image in batch if isinstance(image, np.ndarray)]
    shape = (len(good), card.image_size, card.image_size, 3)
    images = np.array([image for _, image in good], np.uint8).reshape(shape)
    outputs = predictor(images)
    probs, found_ratios = outputs[0], read_unlikeness(outputs)
    ratios = [None] * len(good) if found_ratios is None else list(found_ratios)
    told = [tell_unlikeness(ratio, card.unlike_above) for ratio in ratios]
    drawn = draw([source for source, _ in good], images, probs) if draw else [""] * len(good)
    found = zip(probs, drawn, told, strict=True)
    answers = []
    for source, image in batch:
        if isinstance(image, str):
            answers.append(Answer(source.path, [], image))
        else:
            row, overlay, unlike = next(found)
            ranking = rank_classes(row, card.class_names, top)
            said = rule.say(row, unlike is not None and unlike.unlike) if rule else ""
            answers.append(Answer(source.path, ranking, "", overlay, unlike, said))
    return answers
