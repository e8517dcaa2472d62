"""Bounds directories of tags: those of a TIFF, and of EXIF, which is a TIFF without pixels.

Source: TIFF 6.0, section 2; the BigTIFF design of libtiff.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pawprint.pictures.costs import too_costly

MAX_TAGS = 1024  # of a directory; cameras and microscopes write up to a hundred or two
MAX_NUMBERS = 2**20  # in one directory: each becomes an object of its own
SMALL_EXIF_BYTES = 2**16  # as in one segment of a JPEG: too little to cost much
# Each place of a tile or strip, and its bytes; how many these may be, tiff.py says
OFFSETS, BYTE_COUNTS = (273, 324), (279, 325)

_NESTED = (34665, 34853, 40965)  # EXIF, GPS and interoperability: directories that are read, too
_RAW = (1, 2, 7)  # types; their values stay together as bytes or text
_RATIONALS = (5, 10)  # types; each is a fraction, which takes the time of eight numbers
_BYTES_OF_TYPE = dict(zip(range(1, 14), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), strict=True))
_BYTES_OF_TYPE |= {16: 8, 17: 8, 18: 8}  # of BigTIFF
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_EXIF_NAME = re.compile(rb"(?:Exif\0\0){0,2}")


@dataclass(frozen=True)
class Entry:
    """One entry of a directory: its type, how many values it has, and where these are."""

    type: int
    count: int
    place: int


@dataclass(frozen=True)
class Directories:
    """Reads directories.

    Attributes:
        content: the file that holds them.
        start: of the TIFF or EXIF in it; offsets count from here.
        end: of the TIFF or EXIF in the file.
        is_big: it is a BigTIFF: offsets have 8 bytes, entries 20.
    """

    content: bytes
    start: int
    end: int
    is_big: bool = False

    @property
    def order(self) -> str:
        """Of bytes, as ``struct`` names it."""
        return "<" if self.content.startswith(b"II", self.start) else ">"

    def first(self) -> dict[int, Entry]:
        """The first directory, see ``read``; those that it names are bounded, too.

        Raises:
            ImageError: of the kind ``COSTLY``: too many entries or numbers.
        """
        entries = self.read(self.number("Q", 8) if self.is_big else self.number("I", 4))
        for tag in _NESTED:
            if offset := self.value(entries.get(tag), 0):
                self.read(offset)
        return entries

    def read(self, offset: int) -> dict[int, Entry]:
        """Tag → its first entry, as decoders take it; none where there is no directory.

        Raises:
            ImageError: of the kind ``COSTLY``: too many entries or numbers.
        """
        entries: dict[int, Entry] = {}
        numbers = 0
        for tag, entry in self._list_entries(offset):
            size = entry.count * _BYTES_OF_TYPE.get(entry.type, 0)
            if not size or size > self.end - self.start or tag in entries:
                continue  # nobody reads it
            entries[tag] = entry
            if entry.type not in _RAW and tag not in OFFSETS + BYTE_COUNTS:
                numbers += entry.count * (8 if entry.type in _RATIONALS else 1)
        if numbers > MAX_NUMBERS:
            raise too_costly(f"more than {MAX_NUMBERS} numbers in a directory of tags")
        return entries

    def _list_entries(self, offset: int) -> Iterator[tuple[int, Entry]]:
        layout = struct.Struct(self.order + ("HHQQ" if self.is_big else "HHII"))
        inline = 8 if self.is_big else 4
        count = self.number("Q" if self.is_big else "H", offset)
        if count > MAX_TAGS:
            raise too_costly(f"more than {MAX_TAGS} entries in a directory of tags")
        place = self.start + offset + (8 if self.is_big else 2)
        for at in range(place, place + count * layout.size, layout.size):
            if at + layout.size > len(self.content):
                return  # cut short: decoders stop here, too
            tag, type_, values, where = layout.unpack_from(self.content, at)
            if values * _BYTES_OF_TYPE.get(type_, 0) <= inline:
                where = at - self.start + layout.size - inline
            yield tag, Entry(type_, values, where)

    def number(self, code: str, offset: int) -> int:
        """The integer at an offset; 0 where the file ends before."""
        values = self.numbers(code, offset, 1)
        return values[0] if values else 0

    def numbers(self, code: str, offset: int, count: int) -> tuple[int, ...]:
        """Some integers from an offset on; none where the file ends before.

        Args:
            code: of their type, as ``struct`` names it.
            offset: of the first.
            count: how many.
        """
        layout = struct.Struct(f"{self.order}{count}{code}")
        if not 0 <= offset <= self.end - self.start - layout.size:
            return ()
        return layout.unpack_from(self.content, self.start + offset)

    def values(self, entry: Entry | None) -> tuple[int, ...]:
        """The values of an entry; none where they are not integers."""
        if entry is None or entry.type not in _INTEGERS:
            return ()
        return self.numbers(_INTEGERS[entry.type], entry.place, entry.count)

    def value(self, entry: Entry | None, default: int) -> int:
        """The first value of an entry; ``default`` where there is none that is above 0."""
        if entry is None or entry.type not in _INTEGERS:
            return default
        return max(0, self.number(_INTEGERS[entry.type], entry.place)) or default


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
    Directories(content, start, end).first()
