"""Pictures of none of the classes that the best model accepts all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pawprint.deciding.others import OtherPicture
from pawprint.pictures.images import decode_image
from pawprint.report.pictures import PagePictures
from pawprint.report.shown import PER_CENT
from pawprint.runner.errors import ImageError
from pawprint.runner.params import PreprocessParams
from pawprint.storage.tables import printable

_SIDE_PX = 160


@dataclass(frozen=True)
class ShownOther:
    """Such a picture as it stands on the page; texts are printable.

    Attributes:
        image: a data URL; empty where the file cannot be read any more.
        folder: its kind.
        path: of the file.
        class_name: that it is taken for.
        sure: of that, in per cent.
        unlikeness: as a number.
    """

    image: str
    folder: str
    path: str
    class_name: str
    sure: str
    unlikeness: str


def show_others(
    accepted: Sequence[OtherPicture], most: int, params: PreprocessParams, pictures: PagePictures
) -> list[ShownOther]:
    """The first of them, as long as there is room.

    Args:
        accepted: all of them, the surest answers first.
        most: how many, at most.
        params: how pictures are decoded.
        pictures: of the page.
    """
    shown = []
    for one in accepted[:most]:
        image = _show(one, params, pictures)
        if pictures.full:
            break
        shown.append(
            ShownOther(
                image,
                printable(one.folder),
                printable(one.path),
                printable(one.class_name),
                f"{100 * one.probability:.1f}{PER_CENT}",
                f"{one.unlikeness:.2f}",
            )
        )
    return shown


def _show(one: OtherPicture, params: PreprocessParams, pictures: PagePictures) -> str:
    try:
        content = Path(one.path).read_bytes()
        limits = params.max_pixels, params.max_value
        image = decode_image(content, _SIDE_PX, *limits, resize=params.resize)
    except (OSError, ImageError):
        return ""
    return pictures.show_image(one.path, image)
