"""Bounds the directories of a TIFF, and of EXIF, which is a TIFF without pixels.

Source: TIFF 6.0, sections 2, 8 and 15; the BigTIFF design of libtiff.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from pawprint.data.costs import too_costly

MAX_ENTRIES = 1024  # of a directory; cameras and microscopes write up to a hundred or two
MAX_NUMBERS = 2**20  # in one directory: each becomes an object of its own
MAX_TILES = 100_000  # or strips; each is read by itself
SPARE_PIXELS = 2**25  # that the tiles of a small picture may have beyond four times its own
SMALL_EXIF_BYTES = 2**16  # as in one segment of a JPEG: too little to cost much

_WIDTH, _HEIGHT, _SAMPLES, _PLANES = 256, 257, 277, 284
_STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_OFFSETS = (273, 324)  # of strips, of tiles
_SIZES = (279, 325)
_NESTED = (34665, 34853, 40965)  # EXIF, GPS and interoperability: directories that are read, too
_RAW = (1, 2, 7)  # types; their values stay together as bytes or text
_RATIONALS = (5, 10)  # types; each is a fraction, which takes the time of eight numbers
_BYTES_OF_TYPE = {
    **{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8},
    **{13: 4, 16: 8, 17: 8, 18: 8},
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
_EXIF_NAME = re.compile(rb"(?:Exif\0\0){0,2}")


@dataclass(frozen=True)
class _Entry:
    """One entry of a directory: its type, how many values it has, and where these are."""

    type: int
    count: int
    place: int


@dataclass(frozen=True)
class _Tiff:
    """Where to read directories.

    Attributes:
        content: the file that holds the TIFF.
        start: of the TIFF in it; its offsets count from here.
        end: of the TIFF in the file.
        order: ``<`` or ``>``.
        is_big: it is a BigTIFF: offsets have 8 bytes, entries 20.
    """

    content: bytes
    start: int
    end: int
    order: str
    is_big: bool = False

    def directory(self, offset: int) -> dict[int, _Entry]:
        """Tag → its first entry, as decoders read it; none where there is no directory.

        Raises:
            ImageError: of the kind ``COSTLY``: too many entries or numbers.
        """
        entries: dict[int, _Entry] = {}
        numbers = 0
        for tag, entry in self._list_entries(offset):
            size = entry.count * _BYTES_OF_TYPE.get(entry.type, 0)
            if not size or size > self.end - self.start or tag in entries:
                continue  # nobody reads it
            entries[tag] = entry
            if tag in _OFFSETS + _SIZES:
                if entry.count > MAX_TILES:
                    raise too_costly(f"more than {MAX_TILES} tiles or strips")
            elif entry.type not in _RAW:
                numbers += entry.count * (8 if entry.type in _RATIONALS else 1)
        if numbers > MAX_NUMBERS:
            raise too_costly(f"more than {MAX_NUMBERS} numbers in a directory of tags")
        return entries

    def _list_entries(self, offset: int) -> Iterator[tuple[int, _Entry]]:
        layout = struct.Struct(self.order + ("HHQQ" if self.is_big else "HHII"))
        inline = 8 if self.is_big else 4
        try:
            count = self.number("Q" if self.is_big else "H", offset)
            if count > MAX_ENTRIES:
                raise too_costly(f"more than {MAX_ENTRIES} entries in a directory of tags")
            place = self.start + offset + (8 if self.is_big else 2)
            for number in range(count):
                at = place + number * layout.size
                tag, type_, values, where = layout.unpack_from(self.content, at)
                if values * _BYTES_OF_TYPE.get(type_, 0) <= inline:
                    where = at - self.start + layout.size - inline
                yield tag, _Entry(type_, values, where)
        except struct.error:
            return  # cut short: decoders stop here, too

    def number(self, code: str, offset: int) -> int:
        """The integer at an offset.

        Raises:
            struct.error: the file ends before.
        """
        if not 0 <= offset < self.end:  # it may be too large for struct itself
            raise struct.error("outside of the file")
        value: int = struct.unpack_from(self.order + code, self.content, self.start + offset)[0]
        return value

    def value(self, entry: _Entry | None, default: int) -> int:
        """The first value of an entry; ``default`` where there is none that is an integer."""
        if entry is None or entry.type not in _INTEGERS:
            return default
        try:
            return self.number(_INTEGERS[entry.type], entry.place)
        except struct.error:
            return default


def check_tiff(content: bytes) -> None:
    """Refuse a TIFF that holds too much.

    Args:
        content: a file that begins as a TIFF does.

    Raises:
        ImageError: of the kind ``COSTLY``; it says what there is too much of.
    """
    order = "<" if content[:2] == b"II" else ">"
    classic, big = (_Tiff(content, 0, len(content), order, is_big) for is_big in (False, True))
    try:
        if b"+" in content[2:4]:
            _check_picture(big, big.number("Q", 8))
        if not content.startswith(b"II+"):
            _check_picture(classic, classic.number("I", 4))
        if content.startswith(b"MM\0+"):  # Pillow takes it for a classic one, libtiff does not
            _check_picture(big, classic.number("I", 4))
    except struct.error:
        return  # cut short: a decoder refuses it


def check_exif(content: bytes, start: int, size: int) -> None:
    """Refuse EXIF that holds too much.

    Args:
        content: a file that holds it.
        start: where it begins, with its name or without.
        size: its bytes.

    Raises:
        ImageError: of the kind ``COSTLY``; it says what there is too much of.
    """
    if size <= SMALL_EXIF_BYTES:
        return
    end = min(start + size, len(content))
    if name := _EXIF_NAME.match(content, start, end):
        start = name.end()
    tiff = _Tiff(content, start, end, "<" if content.startswith(b"II", start) else ">")
    try:
        _check_nested(tiff, tiff.directory(tiff.number("I", 4)))
    except struct.error:
        return  # cut short: a decoder refuses it


def _check_nested(tiff: _Tiff, entries: dict[int, _Entry]) -> None:
    for tag in _NESTED:
        if (offset := tiff.value(entries.get(tag), 0)) > 0:
            tiff.directory(offset)


def _check_picture(tiff: _Tiff, offset: int) -> None:
    """Bound the directory of a picture, and its tiles or strips.

    Raises:
        ImageError: of the kind ``COSTLY``.
    """
    entries = tiff.directory(offset)
    _check_nested(tiff, entries)

    def value(tag: int, default: int) -> int:
        return max(1, tiff.value(entries.get(tag), default))

    width, height = value(_WIDTH, 1), value(_HEIGHT, 1)
    planes = value(_SAMPLES, 1) if value(_PLANES, 1) == 2 else 1
    strips, tiles = (entries[tag].count if tag in entries else 0 for tag in _OFFSETS)
    layouts = []
    is_tiled = _TILE_WIDTH in entries or _TILE_HEIGHT in entries
    if is_tiled:  # libtiff takes either list of offsets then
        tile = (value(_TILE_WIDTH, width), value(_TILE_HEIGHT, height))
        layouts.append((*tile, max(strips, tiles)))
    if strips or not is_tiled:  # Pillow prefers strips
        layouts.append((width, min(height, value(_STRIP_ROWS, height)), strips or tiles))
    for wide, high, count in layouts:
        needed = ceil(width / wide) * ceil(height / high)
        if needed * planes > MAX_TILES:
            raise too_costly(f"more than {MAX_TILES} tiles or strips")
        read = max(needed, ceil(count / planes))
        if read * wide * high > 4 * width * height + SPARE_PIXELS:
            each = f"{read} tiles or strips of {wide}x{high}"
            raise too_costly(f"{each} for {width}x{height} pixels")
