"""What stage evaluate wrote of the best model, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pawprint.data.datasets import read_labelled_images
from pawprint.data.labels import read_labels, read_paths
from pawprint.deciding.others import OtherPicture, read_pictures
from pawprint.deciding.outcome import Judgements
from pawprint.deciding.watch import measure_brightness
from pawprint.evaluation.judged import read_unlikeness

_ROWS = 256  # pictures that are in memory at a time


@dataclass(frozen=True)
class JudgedFiles:
    """Where it lies.

    Attributes:
        processed: such as ``data/processed``.
        evaluated: such as ``metrics/evaluate``.
        judged: such as ``metrics/judged``.
        unlike_above: ``unlikeness.k``.
        group_of: path → what belongs together.
    """

    processed: Path
    evaluated: Path
    judged: Path
    unlike_above: float
    group_of: Mapping[str, str]

    def read_validation(self) -> Judgements:
        """What the best model says of validation, and how bright its pictures are."""
        of_val, unlikeness = self.judged / "validation", None
        if (of_val / "unlikeness.npy").is_file():
            unlikeness = np.load(of_val / "unlikeness.npy")
        said = self._join("val", np.load(of_val / "probabilities.npy"), unlikeness)
        return replace(said, brightness=read_brightness(self.processed, "val"))

    def read_test(self, model: str, tells_unlikeness: bool) -> Judgements:
        """What a model says of the test split.

        Args:
            model: its name.
            tells_unlikeness: whether it does.
        """
        probs, unlikeness = np.load(self.evaluated / "probabilities" / f"{model}.npy"), None
        if tells_unlikeness:
            paths = read_paths(self.processed, "test")
            unlikeness = read_unlikeness(self.judged / "unlikeness.csv", model, paths)
        return self._join("test", probs, unlikeness)

    def read_others(self) -> list[OtherPicture]:
        """Pictures of none of the classes; none where the model cannot tell."""
        return read_pictures(self.judged / "others.csv")

    def _join(self, split: str, probs: np.ndarray, unlikeness: np.ndarray | None) -> Judgements:
        paths = read_paths(self.processed, split)
        groups = [self.group_of[path] for path in paths]
        labels = read_labels(self.processed, split)
        return Judgements(paths, groups, probs, labels, unlikeness, self.unlike_above)


def read_brightness(processed: Path, split: str) -> np.ndarray:
    """How bright the pictures of a split are, float64 [n], see ``measure_brightness``."""
    images = read_labelled_images(processed, split).images
    return np.concatenate([measure_brightness(batch) for batch in images.batches(_ROWS)])
