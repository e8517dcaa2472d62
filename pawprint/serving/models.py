"""The models that are served: one, or two that are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.answers.orders import Order
from pawprint.answers.staleness import find_staleness
from pawprint.answers.unlikeness import Unlike, tell_unlikeness
from pawprint.deciding.rule import Rule, read_reference, read_rule
from pawprint.deciding.watch import Reference, measure_brightness
from pawprint.inference.classifier import LIMIT_OF_MODEL, MAX_PIXELS, Classifier
from pawprint.networks.predictor import read_unlikeness
from pawprint.runner.errors import ModelError
from pawprint.serving.settings import Settings

PRIMARY, CANDIDATE = "primary", "candidate"
HASH_DIGITS = 16


@dataclass(frozen=True)
class ModelAnswer:
    """What a model says of a picture.

    Attributes:
        probs: float32 [C].
        unlikeness: whether it is unlike the training pictures; None where the model does not tell.
        brightness: of the picture, see ``measure_brightness``.
        decided: whether the model decides on it alone; None where it does not say what it may.
        features: float32 [d], see ``Classifier.features``; None where they are not kept.
    """

    probs: np.ndarray
    unlikeness: Unlike | None
    brightness: float
    decided: bool | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Served:
    """A model in its role.

    Attributes:
        role: ``primary`` or ``candidate``.
        classifier: the model.
        hash: the first ``HASH_DIGITS`` digits of the model's digest.
        max_pixels: pictures with more are refused.
        stale: why it is not what the pipeline has by now; empty if nothing tells so.
        limit_name: who says so.
        rule: when the model decides alone; None where it does not say it.
        reference: what validation looks like to it; None: the same.
        keeps_features: whether its answers have features.
    """

    role: str
    classifier: Classifier
    hash: str
    max_pixels: int
    stale: str = ""
    limit_name: str = LIMIT_OF_MODEL
    rule: Rule | None = None
    reference: Reference | None = None
    keeps_features: bool = False

    @property
    def class_names(self) -> list[str]:
        return list(self.classifier.card.class_names)

    def describe_watch(self) -> Iterator[str]:
        """Lines for whoever starts the server: which drift nobody is going to notice."""
        if self.reference is None:
            yield (
                f"drift: the {self.role} model's is not watched, as its card does not say what "
                "validation looks like; stage export writes that for the best model of a project"
            )
        elif blind := self.reference.blind:
            yield (
                f"drift: the {self.role} model can raise no alarm by: {', '.join(blind)}; windows "
                f"of {self.reference.window:,} pictures or the validation split are too small; "
                "raise deciding.window or split.val, then run dvc repro"
            )

    def order(self, content: bytes, pixels_left: int, cpu_left_s: float) -> Order:
        """How a picture becomes what the model sees."""
        card = self.classifier.card
        of_model = card.image_size, self.max_pixels, card.max_value
        return Order(content, *of_model, pixels_left, cpu_left_s, card.resize)

    def sees_as(self, other: Served) -> bool:
        """Whether a picture becomes the same pixels for both."""
        one, two = self.classifier.card, other.classifier.card
        return all(
            getattr(one, key) == getattr(two, key) for key in ("image_size", "max_value", "resize")
        )

    def predict(self, images: np.ndarray, classes: np.ndarray) -> list[ModelAnswer]:
        """What it says of n pictures; `classes` are not looked at."""
        above, kept = self.classifier.card.unlike_above, None
        if self.keeps_features:
            outputs, kept = self.classifier.judge_features(images)
        else:
            outputs = self.classifier.judge(images)
        found = read_unlikeness(outputs)
        ratios = [None] * len(images) if found is None else list(found)
        brightness = measure_brightness(images).tolist()
        features = [None] * len(images) if kept is None else list(kept)
        told = (tell_unlikeness(ratio, above) for ratio in ratios)
        rows = zip(outputs[0], told, brightness, features, strict=True)
        return [self._say(*row) for row in rows]

    def _say(
        self,
        probs: np.ndarray,
        told: Unlike | None,
        brightness: float,
        features: np.ndarray | None,
    ) -> ModelAnswer:
        decided = None
        if self.rule is not None:
            decided = self.rule.decides(float(probs.max()), bool(told and told.unlike))
        return ModelAnswer(probs, told, brightness, decided, features)

    def look(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Heatmaps float32 [n, h, w] in 0...1 of int [n] classes; -1: the most probable one."""
        if (classes < 0).any():
            classes = np.where(classes < 0, self.classifier.probs(images).argmax(axis=1), classes)
        return self.classifier.heatmaps(images, classes)


@dataclass(frozen=True)
class Models:
    """The first model, and a second one if there is one.

    Attributes:
        primary: answers.
        candidate: answers a share of the requests, or none if it is a shadow.
        share: of the requests; 0 for a shadow.
        shadow: whether the candidate sees what the primary sees.
    """

    primary: Served
    candidate: Served | None = None
    share: float = 0.0
    shadow: bool = False

    def choose(self, key: str) -> Served:
        """The model that answers; the same key gets the same model.

        >>> sum(Models("a", "b", 0.25).choose(str(i)) == "b" for i in range(10_000))
        2457
        """
        if self.candidate is None or self.shadow:
            return self.primary
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return self.candidate if int.from_bytes(digest) < self.share * 2**64 else self.primary

    def all(self) -> list[Served]:
        return [self.primary] if self.candidate is None else [self.primary, self.candidate]


def open_models(settings: Settings) -> Models:
    """Open what the settings name.

    Raises:
        ModelError: a model is missing or damaged, or the two do not tell the same classes.
    """
    primary = _open(PRIMARY, settings.model, settings)
    if not settings.candidate:
        return Models(primary)
    candidate = _open(CANDIDATE, settings.candidate, settings)
    if candidate.class_names != primary.class_names:
        raise ModelError(
            f"{settings.candidate}: expected the classes of {settings.model}, "
            f"{', '.join(primary.class_names)}; found {', '.join(candidate.class_names)}"
        )
    return Models(primary, candidate, settings.candidate_share, settings.shadow)


def _open(role: str, name: str, settings: Settings) -> Served:
    path = Path(name)
    classifier = Classifier.open(path, settings.cores or None)
    allowed, of_model = settings.max_pixels or MAX_PIXELS, classifier.card.max_pixels
    limit_name = "the server's --max-pixels" if allowed < of_model else LIMIT_OF_MODEL
    stale = find_staleness(classifier.card, path)
    hash_, card = classifier.digest[:HASH_DIGITS], classifier.card
    rule = read_rule(card) if card.deciding else None
    limits = min(allowed, of_model), stale, limit_name
    keeps = role == PRIMARY and settings.keep_features > 0
    return Served(role, classifier, hash_, *limits, rule, read_reference(card), keeps)
