"""Small pictures for a page: from archives on this machine, and only of the very same files."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from pawprint.data.manifest import Picture, open_archive
from pawprint.pictures.images import decode_image
from pawprint.registry.resizing import Resize
from pawprint.runner.errors import DataError, ImageError

SIDE_PX = 160
_QUALITY = 80  # of the JPEG


def make_thumbnails(
    pictures: Iterable[Picture],
    archives: Sequence[Path],
    max_pixels: int,
    max_value: int,
    resize: Resize,
) -> Mapping[str, bytes]:
    """Find pictures in archives by their paths, and make them small.

    Args:
        pictures: to be found; one that lies there under its path with other bytes is another.
        archives: canonical archives, in the order in which they are tried; some may be missing.
        max_pixels, max_value, resize: see ``decode_image``.

    Returns:
        sha256 → a JPEG of 160 by 160 pixels, made a square as for the models. What no archive
        has, or cannot be decoded, is missing.
    """
    left = {picture.sha256: picture for picture in pictures}
    found: dict[str, bytes] = {}
    watched = sys.stderr.isatty()
    with tqdm(
        desc="thumbnails",
        total=len(left),
        leave=False,
        unit="picture",
        delay=1,
        disable=not watched,
    ) as bar:
        for archive in dict.fromkeys(archives):
            new = _look_into(archive, list(left.values()), max_pixels, max_value, resize)
            found |= new
            left = {sha256: p for sha256, p in left.items() if sha256 not in new}
            bar.update(len(new))
    return found


def _look_into(
    archive: Path, pictures: Sequence[Picture], max_pixels: int, max_value: int, resize: Resize
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if not pictures or not archive.is_file():
        return found
    try:
        with open_archive(archive) as opened:
            names = set(opened.namelist())
            for picture in pictures:
                if picture.path not in names:
                    continue
                content = opened.read(picture.path)
                if hashlib.sha256(content).hexdigest() == picture.sha256:
                    try:
                        found[picture.sha256] = _shrink(content, max_pixels, max_value, resize)
                    except ImageError:
                        continue
    except DataError:  # damaged: what was found in it is right, by its sha256
        pass
    return found


def _shrink(content: bytes, max_pixels: int, max_value: int, resize: Resize) -> bytes:
    pixels = decode_image(content, SIDE_PX, max_pixels, max_value, resize=resize)
    small = io.BytesIO()
    Image.fromarray(pixels).save(small, "JPEG", quality=_QUALITY)
    return small.getvalue()
