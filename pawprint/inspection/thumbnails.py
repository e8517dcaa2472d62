"""What the header of each picture says, and a small grey copy of it on disk to compare it by."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.data.decoding import open_pictures
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

THUMBNAIL_PX = 64
_PICTURES_PER_SHARD = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


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
class ThumbnailShard:
    archive: Path
    names: tuple[str, ...]
    max_pixels: int
    max_value: int
    output: Path

    @property
    def files(self) -> list[Path]:
        return [self.output]


def write_thumbnails(
    archive: Path,
    names: Sequence[str],
    max_pixels: int,
    out: Path,
    journal: Path | None = None,
    max_value: int = FULL_RANGE,
) -> list[Thumbnail]:
    """Look at pictures of an archive; none of them raises.

    Args:
        archive: the canonical archive.
        names: of its pictures.
        max_pixels: larger ones are not decoded.
        out: directory of the shards to write: uint8 [n, 64, 64], a picture a row, in the order of
            their names; grey, both sides scaled by themselves, zeros where there is a reason.
        journal: see ``map_shards``.
        max_value: white in pictures of 16 bits, see ``decode_image``.

    Raises:
        DataError: the archive is damaged.
    """
    shards = [
        ThumbnailShard(
            archive,
            tuple(names[start : start + _PICTURES_PER_SHARD]),
            max_pixels,
            max_value,
            out / shard_name(number),
        )
        for number, start in enumerate(range(0, len(names), _PICTURES_PER_SHARD))
    ]
    results = map_shards(_write_shard, shards, "looking", journal=journal)
    return [
        Thumbnail(Header(**header) if header else None, reason, largest)
        for looks in results
        for header, reason, largest in looks
    ]


def _write_shard(shard: ThumbnailShard) -> list[tuple[dict[str, Any] | None, str, int | None]]:
    """Write one shard; for each picture the fields of its header, the reason, the largest value."""
    looks = []
    pixels = np.zeros((len(shard.names), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    with open_pictures(shard.archive, shard.max_pixels) as pictures:
        for row, name in zip(pixels, shard.names, strict=True):
            header, reason, largest = None, "", None
            try:
                with pictures.read(name) as content:
                    header = _read_header(content, shard.max_pixels)
                    row[:] = make_thumbnail(content, shard.max_pixels, shard.max_value)
                    if header and header.format in ("PNG", "TIFF"):
                        largest = largest_value(content)
            except ImageError as error:
                reason = error.reason(PIXELS_KEY)
            looks.append((asdict(header) if header else None, reason, largest))
    write_shard(shard.output, pixels)
    return looks


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
