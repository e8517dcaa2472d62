"""What a model's card says of deciding alone: written by stage deciding, put there by stage export.

It needs NumPy alone: the command line and the server read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pawprint.deciding.watch import Reference, parse_number
from pawprint.inference.classifier import ModelCard
from pawprint.runner.errors import ModelError, one_line
from pawprint.storage.tables import printable

ALONE, ASK = "decided", "ask a person"


@dataclass(frozen=True)
class Rule:
    """When a model decides alone.

    Attributes:
        precision: that is promised, in (0, 1).
        confidence: with which it is, in (0, 1).
        threshold: the least probability of its class; None: it never does.
    """

    precision: float
    confidence: float
    threshold: float | None

    def decides(self, probability: float, unlike: bool) -> bool:
        """Whether it decides on a picture alone.

        Args:
            probability: of the predicted class, in 0...1; a float32 as it is, not rounded.
            unlike: whether the picture is called unlike the training pictures.
        """
        return self.threshold is not None and probability >= self.threshold and not unlike

    def say(self, probs: np.ndarray, unlike: bool) -> str:
        """``decided`` or ``ask a person``.

        Args:
            probs: float32 [c], of one picture.
            unlike: see ``decides``.
        """
        return ALONE if self.decides(float(probs.max()), unlike) else ASK


def read_rule(card: ModelCard) -> Rule:
    """The rule of a model.

    Raises:
        ModelError: its card has none, or holds something else.
    """
    if not card.deciding:
        raise ModelError(
            f"model {printable(one_line(card.name))}: it does not say what it may decide alone, as "
            ".keras files, older exports and models that export.model names do not; expected the "
            "best model of a project, exported after stage deciding: run dvc repro"
        )
    found = card.deciding
    try:
        threshold = found["threshold"]
        if found.get("model", card.name) != card.name:
            raise ValueError(f"the promise of model {found['model']!r}")
        return Rule(
            _parse_share(found["precision"]),
            _parse_share(found["confidence"]),
            None if threshold is None else _parse_share(threshold),
        )
    except (KeyError, TypeError) as error:
        raise _odd(card, "deciding", f"{type(error).__name__}: {error}") from None
    except ValueError as error:
        raise _odd(card, "deciding", error) from None


def _odd(card: ModelCard, key: str, found: object) -> ModelError:
    return ModelError(
        f"model {printable(one_line(card.name))}: {key}: expected what stage deciding writes; "
        f"found {printable(one_line(found))}; run dvc repro"
    )


def _parse_share(value: object) -> float:
    """A number in 0...1, which a threshold may be at its ends."""
    share = parse_number(value)
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r}, expected 0 to 1")
    return share


def read_reference(card: ModelCard) -> Reference | None:
    """What validation looks like to a model; None if its card does not say it.

    Raises:
        ModelError: the card holds something else.
    """
    if not card.deciding:
        return None
    try:
        reference = Reference.parse(card.deciding.get("drift"))
        if (classes := len(reference.classes.shares)) != len(card.class_names):
            raise ValueError(f"{classes} classes, expected {len(card.class_names)}")
        return reference
    except ValueError as error:
        raise _odd(card, "deciding.drift", error) from None
