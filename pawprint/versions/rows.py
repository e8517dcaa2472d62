"""Rows of arrays that the last version of a stage's outputs has, found by what they were made of.

Beside its arrays a stage writes, where no other stage depends on it:

    <rows>/recipe.txt     what made the rows, besides the pictures: see ``describe_recipe``
    <rows>/<name>.csv     key, and a CRC-32 for each array: a line for each row, in order

A key is a hash of what the row alone follows from. A row is taken where its recipe and its key are
those of the row that is wanted, and its bytes those of its CRC: then they are what would be made.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pawprint.runner.files import atomic_write
from pawprint.runner.machine import other_makers
from pawprint.runner.processes import available_cores
from pawprint.storage.shards import ShardedArray, write_shard
from pawprint.storage.tables import write_csv
from pawprint.versions.cache import Version, find_version, is_whole, link_or_copy, remove_damaged
from pawprint.versions.recipe import describe_recipe

ROWS = "rows"
RECIPE = "recipe.txt"
_OTHER_RECIPE = (
    "nothing is taken from the last version: other code, parameters, libraries or another machine "
    "made it"
)
_NOT_WHOLE = "warning: of {}, the last version is not whole in DVC's cache: all of it is made again"


class OldRow(NamedTuple):
    """Where a row stands in DVC's cache: which one of a file, and its CRC-32."""

    file: Path
    row: int
    crc32: int


Place = tuple[OldRow, ...] | None  # of a row in each of several arrays; None: it is not there


class ShardCopy(NamedTuple):
    """A shard to write: the keys of its rows, and a file for each array."""

    keys: tuple[str, ...]
    targets: tuple[Path, ...]


@dataclass
class OldRows:
    """All rows of the last version; none where there is none.

    Attributes:
        recipe: by which they were looked for, and by which the next run looks.
        linked: whether files of the cache may become outputs as hard links.
        remark: for the user, why there are none though there is a version; else empty.
        version: that they are of.
    """

    recipe: str = ""
    linked: bool = False
    remark: str = ""
    version: Version | None = None
    _places: dict[str, tuple[OldRow, ...]] = field(default_factory=dict)
    _shards: dict[tuple[str, ...], tuple[Path, ...]] = field(default_factory=dict)

    def find(self, keys: Iterable[str]) -> tuple[Place, ...]:
        return tuple(map(self._places.get, keys))

    def copy_shards(self, jobs: Sequence[ShardCopy]) -> dict[int, list[list[int]]]:
        """Write the shards that the last version has all rows of.

        A shard that it has as it is becomes a link where the cache is linked.

        Returns:
            number of a job → for each array the CRC-32 of its rows. Other jobs, also those that
            met a damaged file, have written nothing.
        """
        with ThreadPoolExecutor(available_cores()) as threads:
            done = dict(enumerate(threads.map(self._copy_shard, jobs)))
        return {number: sums for number, sums in done.items() if sums is not None}

    def _copy_shard(self, job: ShardCopy) -> list[list[int]] | None:
        places = self.find(job.keys)
        if not places or not all(places):
            return None
        known = [place for place in places if place]
        sums = [[place[i].crc32 for place in known] for i in range(len(job.targets))]
        if files := self._shards.get(job.keys):
            if not all(map(is_whole, files)):
                for file in files:
                    remove_damaged(file)
                return None
            for file, target in zip(files, job.targets, strict=True):
                link_or_copy(file, target, self.linked)
            return sums
        arrays = [read_rows([place[i] for place in known]) for i in range(len(job.targets))]
        if any(row is None for array in arrays for row in array):
            return None
        for array, target in zip(arrays, job.targets, strict=True):
            write_shard(target, np.stack([row for row in array if row is not None]))
        return sums

    def add(
        self,
        keys: Sequence[str],
        sums: Sequence[Sequence[int]],
        arrays: Sequence[Sequence[Path]],
    ) -> None:
        """Take up rows.

        Args:
            keys: of n rows.
            sums: for each array n CRC-32.
            arrays: the shards of each, in order; each array has them of the same lengths.

        Raises:
            OSError, ValueError, LookupError: these do not fit together; nothing is taken up.
        """
        places: dict[str, tuple[OldRow, ...]] = {}
        shards: dict[tuple[str, ...], tuple[Path, ...]] = {}
        start = 0
        for files in zip(*arrays, strict=True):
            stop = start + len(ShardedArray(files[:1]))
            for i in range(start, stop):
                places[keys[i]] = tuple(
                    OldRow(file, i - start, of_array[i])
                    for file, of_array in zip(files, sums, strict=True)
                )
            shards[tuple(keys[start:stop])] = files
            start = stop
        if start != len(keys):
            raise ValueError(f"{len(keys)} keys for {start} rows")
        self._places |= places
        self._shards |= shards


def open_rows(
    stage: str,
    index: Path,
    settings: Mapping[str, Any],
    arrays: Mapping[str, Sequence[Path]],
    floats: bool,
) -> OldRows:
    """The rows that a stage had when it ran last, if they were made as they would be now.

    Args:
        stage: its name; run from the project's root.
        index: the directory ``<rows>`` described at the top of this module.
        settings: see ``describe_recipe``.
        arrays: name of an index, such as ``train`` → the directories of its arrays.
        floats: see ``describe_recipe``.
    """
    recipe, version = describe_recipe(stage, settings, floats), find_version(stage)
    made_by = version.text(index / RECIPE) if version else None
    if version is None or made_by is None:
        return OldRows(recipe)
    if made_by.strip() != recipe:
        return OldRows(recipe, remark=_OTHER_RECIPE)
    rows = OldRows(recipe, version.linked, version=version)
    for name, directories in arrays.items():
        files = [version.array(directory) for directory in directories]
        try:
            keys, sums = _read_index(version, index / f"{name}.csv")
            rows.add(keys, sums, files)
        except (OSError, ValueError, LookupError):
            for file in chain(*files):
                remove_damaged(file)
            rows.remark = _NOT_WHOLE.format(name)
    return rows


def write_recipe(index: Path, recipe: str) -> None:
    """Write ``<rows>/recipe.txt``, marked where machines of other types had a part in the rows.

    So marked it is nobody's recipe: no later run takes the rows for its own.
    """
    recipe = "\n".join([recipe, *(f"made also by: {other}" for other in other_makers())])
    with atomic_write(index / RECIPE) as file:
        file.write(f"{recipe}\n".encode())


def write_index(
    index: Path, name: str, keys: Sequence[str], sums: Mapping[str, Sequence[int]]
) -> None:
    """Write ``<rows>/<name>.csv``.

    Args:
        index: the directory ``<rows>``.
        name: of the index.
        keys: of all rows, in order.
        sums: name of an array → the CRC-32 of its rows.
    """
    write_csv(index / f"{name}.csv", ("key", *sums), zip(keys, *sums.values(), strict=True))


def _read_index(version: Version, path: Path) -> tuple[list[str], list[list[int]]]:
    text = version.text(path)
    if text is None:
        raise LookupError(path)
    _, *rows = csv.reader(io.StringIO(text))
    columns = list(zip(*rows, strict=True))
    return list(columns[0]), [list(map(int, column)) for column in columns[1:]]


def read_rows(places: Sequence[OldRow | None]) -> list[np.ndarray | None]:
    """Read rows out of DVC's cache.

    Returns:
        For each place its row; None where there is none, or it is not what its CRC-32 says. A file
        that is not what its name says is removed from the cache.
    """
    found: list[np.ndarray | None] = [None] * len(places)
    for file in {place.file for place in places if place}:
        wanted = [(i, place) for i, place in enumerate(places) if place and place.file == file]
        try:
            rows = ShardedArray([file]).gather([place.row for _, place in wanted])
        except (OSError, ValueError, IndexError):
            remove_damaged(file)
            continue
        for (i, place), row in zip(wanted, rows, strict=True):
            found[i] = row if _sum_row(row) == place.crc32 else None
        if any(found[i] is None for i, _ in wanted):
            remove_damaged(file)
    return found


def sum_rows(rows: Iterable[np.ndarray]) -> list[int]:
    """The CRC-32 of each row."""
    return [_sum_row(row) for row in rows]


def _sum_row(row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).data)


def describe_taken(taken: int, found: int, total: int, rows: OldRows) -> list[str]:
    """What the user is told of rows that were taken.

    Args:
        taken: how many were.
        found: how many there should have been: the others were damaged.
        total: of all rows.
        rows: from ``open_rows``.

    >>> describe_taken(9900, 9900, 10000, OldRows())
    ['9,900 of 10,000 pictures taken from the last version']
    """
    lines = [f"{taken:,} of {total:,} pictures taken from the last version"] if found else []
    if found > taken:
        lines.append(
            f"warning: {found - taken:,} more were damaged in DVC's cache: the files are removed "
            "there, and made again"
        )
    return [*lines, *([rows.remark] if rows.remark else [])]
