"""Bounds the tiles and strips that the pixels of a TIFF lie in.

Source: TIFF 6.0, sections 8 and 15; for JPEG within TIFF, Adobe's Technical Note 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pawprint.pictures.costs import MAX_PASSES, too_costly
from pawprint.pictures.directories import BYTE_COUNTS, OFFSETS, Directories, Entry
from pawprint.runner.errors import ImageError, ImageFault

MAX_TILES = 100_000  # or strips; each is read by itself
SPARE_TILE_PIXELS = 2**24  # that the tiles of a small picture may have beyond four times its own
SPARE_BYTES = 2**24  # of coded data, beyond four times the file; tiles may share their bytes

_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _PLANES = 256, 257, 259, 277, 284
_STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_NOT_COMPRESSED, _OLD_JPEG, _JPEG = 1, 6, 7
_START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True)
class _Tiles:
    """How the pixels are divided; a strip is a tile, too.

    Attributes:
        width: of each, in pixels.
        height: of each, in pixels.
        needed: how many there are in a plane.
        planes: how many times the picture is divided, for each colour by itself.
        offsets: where each is; None: nowhere.
        byte_counts: the bytes of each; None: nobody says.
    """

    width: int
    height: int
    needed: int
    planes: int
    offsets: Entry | None
    byte_counts: Entry | None


def check_tiff(content: bytes, max_pixels: int) -> None:
    """Refuse a TIFF that holds too much.

    Args:
        content: a file that begins as a TIFF does.
        max_pixels: as many as a picture may have; it bounds the passes over progressive JPEG.

    Raises:
        ImageError: of the kind ``COSTLY``; it says what there is too much of. Of another kind: it
            is a BigTIFF that Pillow takes for a classic one.
    """
    directories = Directories(content, 0, len(content), is_big=b"+" in content[2:4])
    entries = directories.first()

    def value(tag: int, default: int = 1) -> int:
        return directories.value(entries.get(tag), default)

    width, height = value(_WIDTH), value(_HEIGHT)
    for tiles in _list_layouts(directories, entries, width, height):
        _check_tiles(tiles, width, height)
        if value(_COMPRESSION) != _NOT_COMPRESSED:
            is_jpeg = value(_COMPRESSION) in (_OLD_JPEG, _JPEG)
            _check_coded(directories, tiles, max_pixels if is_jpeg else 0)
    if content.startswith(b"MM\0+"):
        text = "a BigTIFF in big-endian order, which is misread; convert it"
        raise ImageError(text, ImageFault.FORMAT)


def _list_layouts(
    directories: Directories, entries: dict[int, Entry], width: int, height: int
) -> list[_Tiles]:
    """How decoders may take the pixels to be divided: where a file says both, they differ."""

    def value(tag: int, default: int) -> int:
        return directories.value(entries.get(tag), default)

    planes = value(_SAMPLES, 1) if value(_PLANES, 1) == 2 else 1
    strips, tiles = (entries.get(tag) for tag in OFFSETS)
    byte_counts = next((entries[tag] for tag in BYTE_COUNTS if tag in entries), None)
    is_tiled = _TILE_WIDTH in entries or _TILE_HEIGHT in entries
    sizes = []
    if is_tiled:  # libtiff takes either list of offsets then
        longer = max(strips, tiles, key=lambda entry: entry.count if entry else 0)
        sizes.append((value(_TILE_WIDTH, width), value(_TILE_HEIGHT, height), longer))
    if strips or not is_tiled:  # Pillow prefers strips
        sizes.append((width, min(height, value(_STRIP_ROWS, height)), strips or tiles))
    return [
        _Tiles(wide, high, ceil(width / wide) * ceil(height / high), planes, offsets, byte_counts)
        for wide, high, offsets in sizes
    ]


def _check_tiles(tiles: _Tiles, width: int, height: int) -> None:
    """Bound how many tiles there are, and their pixels."""
    listed = tiles.offsets.count if tiles.offsets else 0
    counted = tiles.byte_counts.count if tiles.byte_counts else 0
    if max(tiles.needed * tiles.planes, listed, counted) > MAX_TILES:
        raise too_costly(f"more than {MAX_TILES} tiles or strips")
    read = max(tiles.needed, ceil(listed / tiles.planes))
    if read * tiles.width * tiles.height > 4 * width * height + SPARE_TILE_PIXELS:
        each = f"{read} tiles or strips of {tiles.width}x{tiles.height}"
        raise too_costly(f"{each} for {width}x{height} pixels")


def _check_coded(directories: Directories, tiles: _Tiles, max_pixels: int) -> None:
    """Bound the coded data of all tiles, which may lie in the same bytes.

    Args:
        directories: of the file.
        tiles: where they are.
        max_pixels: of JPEG: as many as a picture may have; 0: it is none.
    """
    content = directories.content
    starts = directories.values(tiles.offsets)
    sizes = directories.values(tiles.byte_counts) or (len(content),) * len(starts)
    coded = sum(min(max(0, size), len(content)) for size in sizes)
    if coded > 4 * len(content) + SPARE_BYTES:
        raise too_costly(f"{coded} bytes of coded data in a file of {len(content)}")
    if max_pixels:
        places = [(max(0, start), max(0, size)) for start, size in zip(starts, sizes, strict=False)]
        scans = {place: content.count(_START_OF_SCAN, place[0], sum(place)) for place in {*places}}
        passes = sum(scans[place] for place in places)
        if passes * tiles.width * tiles.height > MAX_PASSES * max_pixels + SPARE_TILE_PIXELS:
            raise too_costly(f"{passes} scans in tiles or strips of {tiles.width}x{tiles.height}")
