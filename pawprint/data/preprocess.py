"""Decodes every picture once into shards of pixels, and sets aside those that cannot be decoded.

data/processed/classes.json          class names; a class's place is its label
data/processed/quarantine.csv        path, class, split, reason
data/processed/<split>/index.csv     path: one row a picture; its label: see pawprint/data/labels.py
data/processed/<split>/00000.npy     uint8 [n, size, size, 3], the same pictures in order
data/processed/rows/                 by which the next run knows them: see pawprint/versions/rows.py
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pawprint.data.decoding import Pictures, open_pictures, task_of_pictures
from pawprint.data.labels import write_labels
from pawprint.data.manifest import SPLITS, Picture, check_splits
from pawprint.pictures.images import PIXELS_KEY, decode_image
from pawprint.registry.resizing import Resize
from pawprint.runner.errors import DataError, ImageError
from pawprint.runner.journal import map_shards
from pawprint.runner.params import PreprocessParams
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_csv, write_json
from pawprint.versions.rows import (
    ROWS,
    OldRows,
    Place,
    ShardCopy,
    describe_taken,
    read_rows,
    sum_rows,
    write_index,
    write_recipe,
)

PICTURES_PER_SHARD = 128


@dataclass(frozen=True)
class DecodingShard:
    """The work of one process: decode these pictures into this file.

    Attributes:
        places: of each picture, where the last version has its pixels.
    """

    archive: Path
    pictures: tuple[Picture, ...]
    places: tuple[Place, ...]
    output: Path
    size_px: int
    max_pixels: int
    max_value: int
    resize: Resize

    @property
    def files(self) -> list[Path]:
        return [self.output]


def preprocess_pictures(
    archive: Path,
    pictures: Sequence[Picture],
    size_px: int,
    params: PreprocessParams,
    out: Path,
    journal: Path | None = None,
    old: OldRows | None = None,
) -> list[Picture]:
    """Decode all pictures of a manifest, but for those whose pixels an earlier version has.

    Args:
        archive: the canonical archive.
        pictures: its manifest, each with its split.
        size_px: side of the squares.
        params: limits, and how a picture becomes a square.
        out: directory to make, as described at the top of this module.
        journal: see ``map_shards``.
        old: the last version, from ``open_rows``; a picture's key is its SHA-256.

    Returns:
        The pictures that could be decoded, in their order.

    Raises:
        DataError: more than ``preprocess.max_bad`` of the pictures are bad, or a class or split
            has none left.
    """
    old = old or OldRows()
    shards = _list_shards(archive, pictures, size_px, params, out, old)
    copied = old.copy_shards(
        [ShardCopy(_keys(shard.pictures), (shard.output,)) for shard in shards]
    )
    known = {i: DecodedShard([], sums, len(sums)) for i, (sums,) in copied.items()}
    results = [
        DecodedShard(*result)
        for result in map_shards(decode_shard, shards, "decoding", None, journal, known, _DECODING)
    ]
    _tell_taken(shards, results, old)
    by_path = {picture.path: picture for picture in pictures}
    bad = [(by_path[path], reason) for result in results for path, reason in result.bad]
    if len(bad) > params.max_bad * len(pictures):
        shutil.rmtree(out, ignore_errors=True)
        examples = "; ".join(f"{picture.path}: {reason}" for picture, reason in bad[:3])
        raise DataError(
            f"{len(bad)} of {len(pictures)} pictures cannot be decoded, more than "
            f"preprocess.max_bad = {params.max_bad} allows ({examples}); mend the source, or "
            "raise preprocess.max_bad to go on without them"
        )
    quarantined = {picture.path for picture, _ in bad}
    good = [picture for picture in pictures if picture.path not in quarantined]
    _check_classes(good, bad)
    class_names = check_splits(good)
    _write_tables(out, good, bad, class_names)
    _write_index(out, good, shards, results, old.recipe)
    return good


def _keys(pictures: Sequence[Picture]) -> tuple[str, ...]:
    return tuple(picture.sha256 for picture in pictures)


def _tell_taken(
    shards: Sequence[DecodingShard], results: Sequence[DecodedShard], old: OldRows
) -> None:
    found = sum(place is not None for shard in shards for place in shard.places)
    total = sum(len(shard.pictures) for shard in shards)
    for line in describe_taken(sum(result.taken for result in results), found, total, old):
        print(line)


def _list_shards(
    archive: Path,
    pictures: Sequence[Picture],
    size_px: int,
    params: PreprocessParams,
    out: Path,
    old: OldRows,
) -> list[DecodingShard]:
    shards = []
    for split in SPLITS:
        members = [picture for picture in pictures if picture.split == split]
        for number, start in enumerate(range(0, len(members), PICTURES_PER_SHARD)):
            chosen = tuple(members[start : start + PICTURES_PER_SHARD])
            shards.append(
                DecodingShard(
                    archive,
                    chosen,
                    old.find(_keys(chosen)),
                    out / split / shard_name(number),
                    size_px,
                    params.max_pixels,
                    params.max_value,
                    params.resize,
                )
            )
    return shards


def _check_classes(good: Sequence[Picture], bad: Sequence[tuple[Picture, str]]) -> None:
    """Refuse to go on without a class of which no picture can be decoded.

    Raises:
        DataError: the class, how many were set aside, and why.
    """
    left = {picture.class_name for picture in good}
    for lost in sorted({picture.class_name for picture, _ in bad} - left):
        found = [(picture.path, reason) for picture, reason in bad if picture.class_name == lost]
        path, reason = found[0]
        raise DataError(
            f"no picture of the class {lost} can be decoded: {len(found)} were set aside, as "
            f"{path}: {reason}; mend them, or remove the class"
        )


class DecodedShard(NamedTuple):
    """What became of a shard's pictures.

    Attributes:
        bad: path and reason of those that cannot be decoded.
        sums: CRC-32 of the pixels of the others.
        taken: how many of these the last version had.
    """

    bad: list[tuple[str, str]]
    sums: list[int]
    taken: int


def decode_shard(shard: DecodingShard) -> DecodedShard:
    """Decode one shard's pictures into its file.

    Raises:
        DataError: the archive is not the one that the pictures were listed from, or is damaged.
        PawprintError: a picture took more memory than any should.
    """
    old = _read_old(shard)
    with open_pictures(shard.archive, shard.max_pixels) as pictures:
        return _write(shard, old, _decode(pictures, _order(shard, old)))


class DecodingOrder(NamedTuple):
    """Pictures to decode, wherever that is done."""

    names: tuple[str, ...]
    size_px: int
    max_pixels: int
    max_value: int
    resize: Resize


def _read_old(shard: DecodingShard) -> list[np.ndarray | None]:
    """The pixels that the last version has."""
    return read_rows([place[0] if place else None for place in shard.places])


def _order(shard: DecodingShard, old: Sequence[np.ndarray | None]) -> DecodingOrder:
    """What the last version does not have."""
    names = [p.path for p, row in zip(shard.pictures, old, strict=True) if row is None]
    return DecodingOrder(
        tuple(names), shard.size_px, shard.max_pixels, shard.max_value, shard.resize
    )


def _decode(pictures: Pictures, order: DecodingOrder) -> list[np.ndarray | str]:
    """Pixels of each picture, uint8 [size, size, 3], or why there are none."""
    found: list[np.ndarray | str] = []
    limits = (order.max_pixels, order.max_value)
    for name in order.names:
        try:
            with pictures.read(name) as content:
                found.append(decode_image(content, order.size_px, *limits, resize=order.resize))
        except ImageError as error:
            found.append(error.reason(PIXELS_KEY))
    return found


def _write(
    shard: DecodingShard, old: Sequence[np.ndarray | None], made: Sequence[np.ndarray | str]
) -> DecodedShard:
    rows, bad, new = [], [], iter(made)
    for picture, known in zip(shard.pictures, old, strict=True):
        row = next(new) if known is None else known
        if isinstance(row, str):
            bad.append((picture.path, row))
        else:
            rows.append(row)
    empty = np.empty((0, shard.size_px, shard.size_px, 3), np.uint8)
    write_shard(shard.output, np.stack(rows) if rows else empty)
    return DecodedShard(bad, sum_rows(rows), sum(row is not None for row in old))


_DECODING = task_of_pictures(_read_old, _order, _decode, _write, lambda shard: len(shard.pictures))


def _write_tables(
    out: Path,
    good: Sequence[Picture],
    bad: Sequence[tuple[Picture, str]],
    class_names: Sequence[str],
) -> None:
    write_json(out / "classes.json", list(class_names))
    label = {name: i for i, name in enumerate(class_names)}
    for split in SPLITS:
        rows = [(p.path, p.class_name, label[p.class_name]) for p in good if p.split == split]
        write_labels(out, split, rows)
    write_csv(
        out / "quarantine.csv",
        ("path", "class", "split", "reason"),
        [(p.path, p.class_name, p.split, reason) for p, reason in bad],
    )


def _write_index(
    out: Path,
    good: Sequence[Picture],
    shards: Sequence[DecodingShard],
    results: Sequence[DecodedShard],
    recipe: str,
) -> None:
    for split in SPLITS:
        keys = _keys([picture for picture in good if picture.split == split])
        of_split = [i for i, shard in enumerate(shards) if shard.output.parent.name == split]
        sums = [crc32 for i in of_split for crc32 in results[i].sums]
        write_index(out / ROWS, split, keys, {"pixels": sums})
    write_recipe(out / ROWS, recipe)
