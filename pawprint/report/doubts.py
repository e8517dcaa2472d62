"""Suspects on the page, and the decisions that a person makes there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pawprint.data.decisions import Decision, Decisions
from pawprint.data.suspects import Suspect, Suspects
from pawprint.report.pictures import PagePictures
from pawprint.report.shown import PER_CENT
from pawprint.storage.tables import printable

_SIDE_PX = 224
_NEIGHBOUR_PX = 72
_NEIGHBOURS = 4
_PROBABILITIES = 3


@dataclass(frozen=True)
class ShownNeighbour:
    """A picture that is like a suspect: its picture, label, and whether that is another one."""

    image: str
    label: str
    other: bool
    path: str


@dataclass(frozen=True)
class ShownSuspect:
    """A suspect as it stands on the page; texts are printable.

    Attributes:
        image: a data URL.
        path, split, label, suggested, why: of it.
        source_label: the class that it came with, if a person has changed it; else empty.
        probabilities: class and probability in per cent, the most probable first.
        neighbours: with a picture.
    """

    image: str
    path: str
    split: str
    label: str
    source_label: str
    suggested: str
    why: str
    probabilities: tuple[tuple[str, str], ...]
    neighbours: tuple[ShownNeighbour, ...]


def show_suspects(
    suspects: Suspects, most: int, pictures: PagePictures
) -> tuple[list[ShownSuspect], list[Suspect]]:
    """The first suspects, as long as there is room for their pictures; and the same as found.

    Args:
        suspects: in their order.
        most: how many, at most.
        pictures: of the data set.
    """
    shown, found = [], []
    for suspect in suspects.suspects[:most]:
        image = pictures.show(suspect.picture.path, _SIDE_PX)
        if pictures.full:
            break
        shown.append(_show(suspect, image, pictures))
        found.append(suspect)
    return shown, found


def _show(suspect: Suspect, image: str, pictures: PagePictures) -> ShownSuspect:
    picture = suspect.picture
    changed = picture.source_class != picture.class_name
    likely = suspect.probabilities[:_PROBABILITIES]
    neighbours = [
        ShownNeighbour(
            pictures.show(other.path, _NEIGHBOUR_PX),
            printable(other.class_name),
            other.class_name != picture.class_name,
            printable(other.path),
        )
        for other, _ in suspect.neighbours[:_NEIGHBOURS]
    ]
    return ShownSuspect(
        image,
        printable(picture.path),
        picture.split,
        printable(picture.class_name),
        printable(picture.source_class) if changed else "",
        printable(suspect.suggested),
        printable(suspect.why),
        tuple((printable(name), f"{100 * share:.1f}{PER_CENT}") for name, share in likely),
        tuple(one for one in neighbours if one.image),
    )


def decision_values(
    suspects: Collection[Suspect], class_names: Collection[str], decisions: Decisions
) -> dict[str, Any]:
    """What the page's script knows: exact names, where the page itself shows printable ones.

    Args:
        suspects: that are shown, in their order.
        class_names: that a picture can be given.
        decisions: of the file, as it was when the page was made.
    """
    return {
        "classes": [{"name": name, "shown": printable(name)} for name in class_names],
        "suspects": [
            {
                "sha256": one.picture.sha256,
                "source": one.picture.source_class,
                "suggested": one.suggested,
            }
            for one in suspects
        ],
        "decisions": [_as_row(decisions[digest]) for digest in sorted(decisions)],
    }


def _as_row(decision: Decision) -> Mapping[str, str]:
    return {key: str(value) for key, value in asdict(decision).items()}


def count_open(suspects: Suspects, decisions: Decisions) -> int:
    """Suspects on which nobody has decided."""
    return sum(one.picture.sha256 not in decisions for one in suspects.suspects)
