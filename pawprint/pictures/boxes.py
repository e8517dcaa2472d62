"""The boxes that a HEIC or AVIF consists of. Source: ISO/IEC 14496-12, section 4.2."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from pawprint.pictures.costs import too_costly

MAX_BOXES = 2**14
MAX_NESTED_BOXES = 16  # of boxes within boxes

# Boxes that hold others, and how many bytes stand before these
_CONTAINERS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"iprp": 0, b"meta": 4}


class Box:
    """What a box holds: numbers, or boxes, one after the other.

    Args:
        content: the file.
        place: where the next of them begins.
        end: of the box.
        seen: counts the boxes of the file.
    """

    def __init__(self, content: bytes, place: int, end: int, seen: count[int]) -> None:
        self.content, self.place, self.end, self.seen = content, place, end, seen

    def take(self, size_bytes: int) -> bytes:
        """The next bytes.

        Raises:
            EOFError: the box ends before.
        """
        place = self.place
        self.place += size_bytes
        if self.place > self.end:
            raise EOFError
        return self.content[place : self.place]

    def number(self, size_bytes: int) -> int:
        """The next number, big-endian.

        Raises:
            EOFError: the box ends before.
        """
        return int.from_bytes(self.take(size_bytes), "big")

    def version(self) -> tuple[int, int]:
        """The version of the box, which is the first that it holds, and its flags.

        Raises:
            EOFError: the box ends before.
        """
        return divmod(self.number(4), 2**24)

    def boxes(self) -> Iterator[tuple[bytes, Box]]:
        """The type of each box from here on, and what it holds.

        Raises:
            ImageError: of the kind ``COSTLY``: the file has too many boxes.
        """
        while self.place + 8 <= self.end:
            if next(self.seen) >= MAX_BOXES:
                raise too_costly(f"more than {MAX_BOXES} boxes")
            start = self.place
            size, kind = self.number(4), self.take(4)
            if size == 1 and self.place + 8 <= self.end:
                size = self.number(8)
            end = min(start + size, self.end) if size else self.end
            yield kind, Box(self.content, self.place, end, self.seen)
            self.place = max(end, self.place)


def walk_boxes(content: bytes) -> Iterator[tuple[bytes, Box]]:
    """Each box of a file, those that hold others before these.

    Raises:
        ImageError: of the kind ``COSTLY``: too many boxes, or too many within each other.
    """
    yield from _walk(Box(content, 0, len(content), count()), MAX_NESTED_BOXES)


def _walk(outer: Box, depth: int) -> Iterator[tuple[bytes, Box]]:
    if not depth:
        raise too_costly(f"boxes within boxes, more than {MAX_NESTED_BOXES} deep")
    for kind, box in outer.boxes():
        start = box.place
        yield kind, box
        if kind in _CONTAINERS:
            box.place = start + _CONTAINERS[kind]
            yield from _walk(box, depth - 1)
