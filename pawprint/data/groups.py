"""Which pictures belong together, as a person says: of a patient, of a camera, of a sequence.

The groups are named in a CSV with the columns ``path`` and ``group``, or by a regular expression
that finds the group's name in the path. Pictures of a group stay in one split, with their
duplicates, and with the groups of these.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from pawprint.data.manifest import Picture, across_splits
from pawprint.runner.errors import DataError, one_line
from pawprint.runner.params import SplitParams

_JOINT = "__"  # the canonical archive joins the folders below a class's with it


@dataclass(frozen=True)
class Groups:
    """The groups that were named.

    Attributes:
        source: the key of params.yaml that names them.
        name_of: path of a picture → name of its group; pictures without one are left out.
        unknown: lines of the CSV that name no picture.
    """

    source: str
    name_of: Mapping[str, str]
    unknown: int = 0

    @property
    def names(self) -> list[str]:
        return sorted(set(self.name_of.values()))


def read_groups(params: SplitParams, pictures: Sequence[Picture]) -> Groups | None:
    """The groups that ``split.groups_file`` or ``split.groups_pattern`` name; None: neither does.

    Args:
        params: a folder as ``groups_file`` names no groups, nor does an empty pattern.
        pictures: all of them.

    Raises:
        DataError: both are set; the file cannot be used; no picture gets a group.
    """
    file, pattern = Path(params.groups_file), params.groups_pattern
    paths = [picture.path for picture in pictures]
    if file.is_dir():
        if tables := sorted(file.glob("*.csv")):
            raise DataError(
                f"split.groups_file: expected a CSV, found the folder {file} with "
                f"{tables[0].name} in it: set split.groups_file={tables[0].as_posix()}, "
                "or move that file elsewhere"
            )
        return _find_groups(pattern, paths) if pattern else None
    if pattern:
        raise DataError(
            f"split.groups_file = {params.groups_file} and split.groups_pattern = {pattern!r} are "
            "both set, expected one of them: set split.groups_pattern='', or split.groups_file to "
            "a folder"
        )
    return _read_table(file, paths)


def _find_groups(pattern: str, paths: Sequence[str]) -> Groups:
    found = ((path, re.search(pattern, path)) for path in paths)
    name_of = {path: match[1] for path, match in found if match and match[1]}
    if not name_of:
        raise DataError(
            f"split.groups_pattern: expected to find groups' names in paths such as "
            f"{_example(paths)}, but {pattern!r} fits none of {len(paths)}; change it"
        )
    return Groups("split.groups_pattern", name_of)


def _read_table(file: Path, paths: Sequence[str]) -> Groups:
    find = _PathFinder(paths)
    name_of: dict[str, str] = {}
    unknown: list[str] = []
    for line, (written, name) in enumerate(_read_rows(file), 2):
        path = find(written)
        if path is None:
            unknown.append(written)
        elif name and name_of.setdefault(path, name) != name:
            raise DataError(
                f"{file}, row {line}: {path} is in group {name_of[path]!r} and in group {name!r}; "
                "expected one group; remove a row"
            )
    if not name_of:
        raise DataError(
            f"{file}: expected paths such as {_example(paths)} with their groups, found "
            f"{_example(unknown)}: none of its rows gives a picture a group"
        )
    return Groups("split.groups_file", name_of, len(unknown))


def _example(paths: Sequence[str]) -> str:
    return repr(paths[0]) if paths else "none"


def _read_rows(file: Path) -> list[tuple[str, str]]:
    """Path and group of each row; an empty group is none."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            delimiter = ";" if ";" in first and "," not in first else ","  # as some offices write
            table = csv.DictReader(text, delimiter=delimiter, strict=True)
            header = [name.strip() for name in table.fieldnames or ()]
            if not {"path", "group"} <= set(header):
                raise DataError(
                    f"{file}: expected the columns path and group in its first line, found "
                    f"{one_line(first) or 'nothing'}; name them so"
                )
            table.fieldnames = header
            return [(row["path"] or "", (row["group"] or "").strip()) for row in table]
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: expected UTF-8 text, found other bytes; save it as UTF-8"
        ) from None
    except csv.Error as error:
        reason = one_line(error)
        raise DataError(f"{file}: expected a CSV, found: {reason}; save it anew") from None


class _PathFinder:
    """Finds the picture that a path means: whole, without its first folders, or with more of them.

    Args:
        paths: of all pictures in the canonical archive.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._whole = {self._normal(path): path for path in paths}
        self._tails: dict[str, str | None] = {}  # None: more than one picture's
        for whole, path in self._whole.items():
            for tail in self._tails_of(whole):
                self._tails[tail] = path if tail not in self._tails else None

    def __call__(self, written: str) -> str | None:
        normal = self._normal(written)
        for tail in self._tails_of(normal):
            if tail in self._whole:
                return self._whole[tail]
        return self._tails.get(normal)

    @staticmethod
    def _normal(path: str) -> str:
        names = normalize("NFC", path.strip()).replace("\\", "/").split("/")
        return _JOINT.join(name for name in names if name not in ("", "."))

    @staticmethod
    def _tails_of(normal: str) -> Iterable[str]:
        names = normal.split(_JOINT)
        return (_JOINT.join(names[i:]) for i in range(len(names)))


def unite(pictures: Sequence[Picture], groups: Groups) -> dict[str, str]:
    """What must stay in one split: duplicates, named groups, and what these join.

    Args:
        pictures: each with the group of its duplicates.
        groups: the named ones.

    Returns:
        For groups of duplicates that are in named ones: the name of the first that they are joined
        with. The same for any order of the pictures.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    first: dict[str, str] = {}  # group of duplicates → a named group
    for picture in pictures:
        if name := groups.name_of.get(picture.path):
            one, other = sorted((root(name), root(first.setdefault(picture.group, name))))
            parent[other] = one
    return {group: f"group {root(name)}" for group, name in first.items()}


def parted_groups(pictures: Sequence[Picture], groups: Groups) -> dict[str, list[Picture]]:
    """Named groups that are in more than one split, which only a given division can leave."""
    members: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if name := groups.name_of.get(picture.path):
            members[name].append(picture)
    return {name: members[name] for name in groups.names if across_splits(members[name])}
