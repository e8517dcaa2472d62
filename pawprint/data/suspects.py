"""The pictures to be looked at, with what is known of each: from tables, without a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pawprint.data.manifest import Picture, read_manifest
from pawprint.runner.errors import DataError
from pawprint.storage.tables import read_csv


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        suspects: what stage suspects ranked.
        details: its directory with probabilities.csv and neighbours.csv.
        manifest: what stage split wrote.
        archive: the canonical one, with the pictures.
    """

    suspects: Path
    details: Path
    manifest: Path
    archive: Path


@dataclass(frozen=True)
class Suspect:
    """A picture to look at.

    Attributes:
        picture: it, with its label.
        suggested: the class that it may be of; may be empty.
        why: the reasons, as stage suspects says them.
        probabilities: class and probability, the most probable first.
        neighbours: the pictures most like it, with their similarity up to 1.
        copies: the same file at other places, maybe with another class; decided together.
    """

    picture: Picture
    suggested: str
    why: str
    probabilities: list[tuple[str, float]]
    neighbours: list[tuple[Picture, float]]
    copies: list[Picture]


@dataclass(frozen=True)
class Suspects:
    """All of them in order.

    Attributes:
        suspects: a picture once; copies of one file are decided together.
        remarks: sentences on the whole data set, such as shortcuts.
        pictures: sha256 → a picture of the data set.
        class_names: that a picture can be given, sorted: those that some came with, or have now.
        unknown: rows whose picture the data set has no more.
    """

    suspects: list[Suspect]
    remarks: list[str]
    pictures: Mapping[str, Picture]
    class_names: list[str]
    unknown: int


def read_suspects(places: Places) -> Suspects:
    """Read what stages split and suspects wrote.

    Raises:
        DataError: a table is missing, or not as the stage writes it.
    """
    for path in (places.suspects, places.manifest, places.archive):
        if not path.is_file():
            raise DataError(
                f"{path}: expected the result of a stage, found none; run `dvc repro suspects`, "
                "or `dvc pull` where a remote has it"
            )
    return list_suspects(places.suspects, places.details, places.manifest)


def list_suspects(table: Path, details: Path, manifest: Path) -> Suspects:
    """The same without the pictures themselves; no suspects where there is no table of them.

    Args:
        table, details, manifest: see ``Places``.

    Raises:
        DataError: a table is not as the stage writes it.
    """
    try:
        return _join(_read_if_there(table), details, manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{table}: expected the tables that stage suspects wrote, found {error!r}; "
            "run `dvc repro -f suspects`"
        ) from None


def _join(rows: Sequence[dict[str, str]], details: Path, manifest: Path) -> Suspects:
    pictures = {picture.path: picture for picture in read_manifest(manifest)}
    probabilities: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in _read_if_there(details / "probabilities.csv"):
        probabilities[row["path"]].append((row["class"], float(row["probability"])))
    neighbours: dict[str, list[tuple[Picture, float]]] = defaultdict(list)
    for row in _read_if_there(details / "neighbours.csv"):
        if row["neighbour"] in pictures:
            neighbour = (pictures[row["neighbour"]], float(row["similarity"]))
            neighbours[row["path"]].append(neighbour)
    same: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures.values():
        same[picture.sha256].append(picture)
    suspects: dict[str, Suspect] = {}
    remarks, unknown = [], 0
    for row in rows:
        path = row["path"]
        if not path:
            remarks.append(row["why"])
        elif path not in pictures:
            unknown += 1
        else:
            likely = sorted(probabilities[path], key=lambda one: -one[1])
            own = pictures[path]
            copies = [copy for copy in same[own.sha256] if copy is not own]
            new = Suspect(own, row["suggested"], row["why"], likely, neighbours[path], copies)
            suspects.setdefault(own.sha256, new)
    return Suspects(
        list(suspects.values()),
        remarks,
        {picture.sha256: picture for picture in pictures.values()},
        sorted({name for p in pictures.values() for name in (p.source_class, p.class_name)}),
        unknown,
    )


def _read_if_there(path: Path) -> list[dict[str, str]]:
    return read_csv(path) if path.is_file() else []
