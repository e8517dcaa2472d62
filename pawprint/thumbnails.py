"""What the header of each picture says, and a small grey copy to compare it by."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image

from pawprint.errors import ImageError
from pawprint.images import FORMATS, decode_image
from pawprint.shards import map_shards

THUMBNAIL_PX = 64
_PICTURES_PER_SHARD = 256
_MAX_PIXELS = 178_956_970  # Pillow itself refuses more
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
    """A picture at a glance.

    Attributes:
        header: None if there is none that can be read.
        pixels: uint8 [64, 64], grey, both sides scaled by themselves; None if the picture cannot
            be decoded.
        reason: why it cannot; empty otherwise.
    """

    header: Header | None
    pixels: np.ndarray | None
    reason: str = ""


@dataclass(frozen=True)
class _Shard:
    archive: Path
    names: tuple[str, ...]


def read_thumbnails(archive: Path, names: Sequence[str]) -> list[Thumbnail]:
    """Look at pictures of an archive, in the order of their names; none of them raises."""
    shards = [
        _Shard(archive, tuple(names[start : start + _PICTURES_PER_SHARD]))
        for start in range(0, len(names), _PICTURES_PER_SHARD)
    ]
    results = map_shards(_read_shard, shards, "looking")
    return [thumbnail for thumbnails in results for thumbnail in thumbnails]


def _read_shard(shard: _Shard) -> list[Thumbnail]:
    with ZipFile(shard.archive) as archive:
        return [make_thumbnail(archive.read(name)) for name in shard.names]


def make_thumbnail(content: bytes) -> Thumbnail:
    """Look at one picture, whatever its bytes are."""
    header = _read_header(content)
    try:
        rgb = decode_image(content, THUMBNAIL_PX, _MAX_PIXELS)
    except ImageError as error:
        return Thumbnail(header, None, str(error))
    return Thumbnail(header, np.rint(rgb @ _LUMA).astype(np.uint8))


def _read_header(content: bytes) -> Header | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return Header(image.width, image.height, str(image.format), image.mode)
    except Exception:  # decoders raise almost anything on damaged bytes
        return None
