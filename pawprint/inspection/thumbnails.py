"""What the header of each picture says, and a small grey copy of it on disk to compare it by."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pawprint.data.decoding import Pictures, open_pictures, task_of_pictures
from pawprint.data.manifest import Picture
from pawprint.pictures.images import (
    FULL_RANGE,
    PIXELS_KEY,
    decode_image,
    largest_value,
    open_image,
)
from pawprint.runner.errors import ImageError
from pawprint.runner.journal import map_shards
from pawprint.storage.shards import shard_name, write_shard
from pawprint.versions.rows import OldRows, Place, ShardCopy, describe_taken, read_rows

THUMBNAIL_PX = 64
_PICTURES_PER_SHARD = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


# The fields of a ``Thumbnail`` as JSON values
Look = tuple[dict[str, Any] | None, str, int | None]


@dataclass(frozen=True)
class Header:
    """What a file says of itself: pixels, before any rotation that its EXIF asks for."""

    width: int
    height: int
    format: str
    mode: str


@dataclass(frozen=True)
class Thumbnail:
    """A picture at a glance; its pixels are on disk.

    Attributes:
        header: None if there is none that can be read.
        reason: why the picture cannot be used; empty if it can.
        largest: the largest value of a picture of 16 bits that does not say its range, else None.
    """

    header: Header | None
    reason: str = ""
    largest: int | None = None


@dataclass(frozen=True)
class OldThumbnails:
    """What the last version has of some files.

    Attributes:
        rows: the pixels; a key is a file's SHA-256.
        looks: the rest, by the same keys.
    """

    rows: OldRows = field(default_factory=OldRows)
    looks: Mapping[str, Thumbnail] = field(default_factory=dict)


@dataclass(frozen=True)
class ThumbnailShard:
    """The work of one process.

    Attributes:
        places: of each picture, where the last version has its pixels.
        looks: the fields of the ``Thumbnail`` of each of these.
    """

    archive: Path
    names: tuple[str, ...]
    max_pixels: int
    max_value: int
    output: Path
    places: tuple[Place, ...]
    looks: tuple[Look | None, ...]

    @property
    def files(self) -> list[Path]:
        return [self.output]


def write_thumbnails(
    archive: Path,
    listed: Sequence[Picture],
    max_pixels: int,
    out: Path,
    journal: Path | None = None,
    max_value: int = FULL_RANGE,
    old: OldThumbnails | None = None,
) -> list[Thumbnail]:
    """Look at pictures of an archive; none of them raises.

    Args:
        archive: the canonical archive.
        listed: its pictures.
        max_pixels: larger ones are not decoded.
        out: directory of the shards to write: uint8 [n, 64, 64], a picture a row, in the order of
            the list; grey, both sides scaled by themselves, zeros where there is a reason.
        journal: see ``map_shards``.
        max_value: white in pictures of 16 bits, see ``decode_image``.
        old: those of the last version.

    Raises:
        DataError: the archive is damaged.
    """
    old = old or OldThumbnails()
    names, keys = (tuple(p.path for p in listed), tuple(p.sha256 for p in listed))
    shards, copies = [], []
    for number, start in enumerate(range(0, len(names), _PICTURES_PER_SHARD)):
        part, output = slice(start, start + _PICTURES_PER_SHARD), out / shard_name(number)
        looks = tuple(_fields(old.looks.get(key)) for key in keys[part])
        places = old.rows.find(keys[part])
        limits = (max_pixels, max_value)
        shards.append(ThumbnailShard(archive, names[part], *limits, output, places, looks))
        copies.append(ShardCopy(keys[part], (output,)))
    known = {
        number: [(look, True) for look in shards[number].looks if look]
        for number in old.rows.copy_shards(copies)
    }
    results = map_shards(_write_shard, shards, "looking", None, journal, known, _LOOKING)
    looked = [look for result in results for look in result]
    found = sum(place is not None for shard in shards for place in shard.places)
    for line in describe_taken(sum(taken for _, taken in looked), found, len(names), old.rows):
        print(line)
    return [make_look(*look) for look, _ in looked]


def _fields(thumbnail: Thumbnail | None) -> Look | None:
    return None if thumbnail is None else look_fields(thumbnail)


def look_fields(thumbnail: Thumbnail) -> Look:
    """A thumbnail as JSON values."""
    header = asdict(thumbnail.header) if thumbnail.header else None
    return header, thumbnail.reason, thumbnail.largest


def make_look(header: dict[str, Any] | None, reason: str, largest: int | None) -> Thumbnail:
    """A thumbnail of what ``look_fields`` made of it."""
    return Thumbnail(Header(**header) if header else None, reason, largest)


def _write_shard(shard: ThumbnailShard) -> list[tuple[Look, bool]]:
    """Write one shard; for each picture its fields, and whether the last version had them."""
    old = _read_old(shard)
    with open_pictures(shard.archive, shard.max_pixels) as pictures:
        return _write(shard, old, _look(pictures, _order(shard, old)))


class LookingOrder(NamedTuple):
    """Pictures to look at, wherever that is done."""

    names: tuple[str, ...]
    max_pixels: int
    max_value: int


Looked = tuple[Look, np.ndarray]  # fields and pixels of one picture


def _read_old(shard: ThumbnailShard) -> list[np.ndarray | None]:
    rows = read_rows([place[0] if place else None for place in shard.places])
    return [row if look else None for row, look in zip(rows, shard.looks, strict=True)]


def _order(shard: ThumbnailShard, old: Sequence[np.ndarray | None]) -> LookingOrder:
    """What the last version does not have."""
    names = [name for name, row in zip(shard.names, old, strict=True) if row is None]
    return LookingOrder(tuple(names), shard.max_pixels, shard.max_value)


def _look(pictures: Pictures, order: LookingOrder) -> list[Looked]:
    return [_look_at(pictures, name, order) for name in order.names]


def _look_at(pictures: Pictures, name: str, order: LookingOrder) -> Looked:
    header, reason, largest = None, "", None
    pixels = np.zeros((THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    try:
        with pictures.read(name) as content:
            header = _read_header(content, order.max_pixels)
            pixels = make_thumbnail(content, order.max_pixels, order.max_value)
            if header and header.format in ("PNG", "TIFF"):
                largest = largest_value(content)
    except ImageError as error:
        reason = error.reason(PIXELS_KEY)
    return (asdict(header) if header else None, reason, largest), pixels


def _write(
    shard: ThumbnailShard, old: Sequence[np.ndarray | None], made: Sequence[Looked]
) -> list[tuple[Look, bool]]:
    looks: list[tuple[Look, bool]] = []
    pixels = np.zeros((len(shard.names), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    new = iter(made)
    for row, known, fields in zip(pixels, old, shard.looks, strict=True):
        if known is not None and fields is not None:
            row[:] = known
            looks.append((fields, True))
        else:
            look, row[:] = next(new)
            looks.append((look, False))
    write_shard(shard.output, pixels)
    return looks


_LOOKING = task_of_pictures(_read_old, _order, _look, _write, lambda shard: len(shard.names))


def make_thumbnail(content: bytes, max_pixels: int, max_value: int = FULL_RANGE) -> np.ndarray:
    """A picture in grey, both sides scaled by themselves, uint8 [64, 64].

    Raises:
        ImageError: it has more pixels than ``max_pixels``, or cannot be decoded.
    """
    rgb = decode_image(content, THUMBNAIL_PX, max_pixels, max_value)
    return np.rint(rgb @ _LUMA).astype(np.uint8)


def _read_header(content: bytes, max_pixels: int) -> Header | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(content, max_pixels) as image:
                return Header(image.width, image.height, str(image.format), image.mode)
    except MemoryError:
        raise
    except Exception:  # decoders raise almost anything on damaged bytes
        return None
