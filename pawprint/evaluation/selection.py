"""Which test pictures are worth a look, chosen the same way every time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from pawprint.evaluation.predictions import Prediction


def choose_pictures(
    predictions: Mapping[str, Prediction], fixed: int, worst: int
) -> dict[str, Prediction]:
    """Fixed pictures, and the worst errors of a model.

    Args:
        predictions: of one model, by path.
        fixed: how many of ``fixed_pictures``.
        worst: how many of ``worst_pictures``.

    Returns:
        Each under a name of its own: ``fixed_01``, ..., ``worst_01``, ...
    """
    kinds = {
        "fixed": fixed_pictures(predictions.values(), fixed),
        "worst": worst_pictures(predictions.values(), worst),
    }
    return {
        f"{kind}_{number:02d}": prediction
        for kind, chosen in kinds.items()
        for number, prediction in enumerate(chosen, start=1)
    }


def fixed_pictures(predictions: Iterable[Prediction], count: int) -> list[Prediction]:
    """Choose pictures by their names alone, one of each class in turn.

    Args:
        predictions: of one model; what it said has no say.
        count: how many, at most.

    Returns:
        Always the same pictures, however often a model is trained.
    """
    by_class: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in sorted(predictions, key=lambda prediction: _name_hash(prediction.path)):
        by_class[prediction.actual].append(prediction)
    turns = [
        (turn, class_name, prediction)
        for class_name, members in by_class.items()
        for turn, prediction in enumerate(members)
    ]
    return [prediction for _, _, prediction in sorted(turns, key=lambda turn: turn[:2])[:count]]


def worst_pictures(predictions: Iterable[Prediction], count: int) -> list[Prediction]:
    """The errors in which the actual class got the lowest probability, worst first.

    Args:
        predictions: of one model.
        count: how many, at most; there are fewer where the model makes fewer errors.
    """
    wrong = [prediction for prediction in predictions if not prediction.correct]
    return sorted(wrong, key=lambda prediction: (prediction.actual_probability, prediction.path))[
        :count
    ]


def _name_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
