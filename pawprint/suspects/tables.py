"""The files of stage suspects, written here alone.

suspects.csv                rank, path, split, label, suggested, why, score: what to look at, in its
                            order; at the end rows without a path, of shortcuts
suspects/probabilities.csv  path, class, probability: of each suspect its most probable classes
suspects/neighbours.csv     path, neighbour, similarity: the pictures most like it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pawprint.evaluation.predictions import DECIMALS
from pawprint.runner.files import atomic_directory
from pawprint.storage.tables import write_csv
from pawprint.suspects.neighbours import find_neighbours
from pawprint.suspects.pictures import JudgedPictures
from pawprint.suspects.ranking import RankedPicture
from pawprint.suspects.reasons import SHORTCUT
from pawprint.suspects.shortcuts import Shortcut

COLUMNS_OF_SUSPECTS = ("rank", "path", "split", "label", "suggested", "why", "score")
_MOST_CLASSES = 5  # of each suspect
_DECIMALS_OF_SCORES = 4


def write_suspects(
    metrics: Path,
    judged: JudgedPictures,
    suspects: Sequence[RankedPicture],
    shortcuts: Sequence[Shortcut],
    neighbours: int,
) -> None:
    """Write the files described at the top of this module.

    Args:
        metrics: the directory, such as ``metrics``.
        judged: n pictures.
        suspects: those of them that are listed, in their order.
        shortcuts: what stands at the end.
        neighbours: how many of each.
    """
    listed = [suspect.row for suspect in suspects]
    with atomic_directory(metrics / "suspects") as directory:
        write_csv(
            directory / "probabilities.csv",
            ("path", "class", "probability"),
            _probabilities(judged, listed),
        )
        write_csv(
            directory / "neighbours.csv",
            ("path", "neighbour", "similarity"),
            _neighbours(judged, listed, neighbours),
        )
    rows = [*_suspects(judged, suspects), *_shortcuts(shortcuts, len(suspects))]
    write_csv(metrics / "suspects.csv", COLUMNS_OF_SUSPECTS, rows)


def _suspects(judged: JudgedPictures, suspects: Sequence[RankedPicture]) -> Iterator[list[str]]:
    names = judged.class_names
    for rank, suspect in enumerate(suspects, 1):
        picture = judged.rows[suspect.row]
        suggested = "" if suspect.suggested is None else names[suspect.suggested]
        why = "; ".join(map(str, suspect.reasons))
        score = f"{suspect.reasons[0].score:.{_DECIMALS_OF_SCORES}f}"
        yield [
            *(str(rank), picture.path, picture.split, picture.class_name),
            *(suggested, why, score),
        ]


def _shortcuts(shortcuts: Sequence[Shortcut], listed: int) -> Iterator[list[str]]:
    for rank, shortcut in enumerate(shortcuts, listed + 1):
        score = f"{shortcut.score:.{_DECIMALS_OF_SCORES}f}"
        why = f"{SHORTCUT}: {shortcut.name} alone tells {shortcut.class_name}"
        yield [str(rank), "", "", "", "", why, score]


def _probabilities(judged: JudgedPictures, listed: Sequence[int]) -> Iterator[list[str]]:
    for row in listed:
        probs = judged.probs[row]
        for place in (-probs).argsort(kind="stable")[:_MOST_CLASSES]:
            probability = f"{probs[place]:.{DECIMALS}f}"
            yield [judged.rows[row].path, judged.class_names[place], probability]


def _neighbours(judged: JudgedPictures, listed: Sequence[int], count: int) -> Iterator[list[str]]:
    nearest, cosines = find_neighbours(judged.directions, listed, count)
    for row, places, similarities in zip(listed, nearest, cosines, strict=True):
        for place, similarity in zip(places, similarities, strict=True):
            score = f"{similarity:.{_DECIMALS_OF_SCORES}f}"
            yield [judged.rows[row].path, judged.rows[place].path, score]
