"""The wrong pictures of a model on the page, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pawprint.evaluation.predictions import Prediction
from pawprint.evaluation.selection import choose_pictures, worst_pictures
from pawprint.report.pictures import PagePictures
from pawprint.report.shown import PER_CENT
from pawprint.runner.params import GradcamParams
from pawprint.storage.tables import printable

_SIDE_PX = 224


@dataclass(frozen=True)
class ShownError:
    """A wrong picture as it stands on the page; texts are printable.

    Attributes:
        image: a data URL.
        overlay: the same under its heatmap; empty where stage gradcam made none.
        path: of it.
        actual, predicted: classes.
        sure: of the class that it was taken for, in per cent.
        left: of its own class, in per cent.
    """

    image: str
    overlay: str
    path: str
    actual: str
    predicted: str
    sure: str
    left: str


def show_errors(
    said: Mapping[str, Prediction],
    name: str,
    gradcam: GradcamParams,
    overlays: Path,
    most: int,
    pictures: PagePictures,
) -> list[ShownError]:
    """The errors of a model, as long as there is room for their pictures.

    Args:
        said: path → what the model said of a test picture.
        name: of the model.
        gradcam: which pictures have an overlay.
        overlays: directory of stage gradcam.
        most: how many, at most.
        pictures: of the data set.
    """
    chosen = choose_pictures(said, gradcam.fixed, gradcam.worst)
    files = {one.path: overlays / f"{name}_{kind}.png" for kind, one in chosen.items()}
    shown = []
    for one in worst_pictures(said.values(), most):
        image = pictures.show(one.path, _SIDE_PX)
        if pictures.full:
            break
        file = files.get(one.path)
        shown.append(
            ShownError(
                image,
                pictures.show_overlay(file, one.path, _SIDE_PX) if file else "",
                printable(one.path),
                printable(one.actual),
                printable(one.predicted),
                f"{100 * one.probability:.1f}{PER_CENT}",
                f"{100 * one.actual_probability:.1f}{PER_CENT}",
            )
        )
    return shown
