"""The items of a HEIC or AVIF: its pictures, the parts of these, and what describes them.

Source: ISO/IEC 23008-12 (items and their properties), ISO/IEC 14496-12, section 8.11.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from pawprint.pictures.bitstreams import count_av1_pixels, count_hevc_pictures
from pawprint.pictures.boxes import Box
from pawprint.pictures.costs import too_costly
from pawprint.pictures.directories import check_exif
from pawprint.runner.errors import ImageError

MAX_ITEMS = 4096  # decoders look for each among all others; 200 megapixels of a telephone have 800
MAX_ITEM_ENTRIES = 2**16  # of all tables of items together
MAX_NESTED_PICTURES = 16  # pictures made of pictures
MAX_METADATA_BYTES = 2**26  # of all pictures together; each has its own, also where they share it

# Types of items that hold no coded picture: those made of others, and descriptions
_NOT_CODED = {b"grid", b"iovl", b"iden", b"tmap", b"Exif", b"mime", b"uri "}


@dataclass
class Items:
    """What a file says of its items.

    Attributes:
        primary: the item that is shown.
        kinds: item → its types; more than one only in a file that contradicts itself.
        extents: item → where its bytes are: start and size of each part.
        within: items whose bytes lie in a box of their own; extents count from its start.
        data_start: of this box.
        parts: item → the items that it is made of, and those laid over it, as its transparency.
        users: item → how many pictures it describes.
        numbers: item → which of the properties it has, from 1.
        properties: of all items: the type of each, and what it holds.
        entries: of all tables so far.
        joined_bytes: of items that lie in pieces, so far.
        decoded: item → pixels to decode, as far as they are known.
    """

    primary: int = 0
    kinds: dict[int, set[bytes]] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    within: set[int] = field(default_factory=set)
    data_start: int = 0
    parts: dict[int, list[int]] = field(default_factory=dict)
    users: dict[int, int] = field(default_factory=dict)
    numbers: dict[int, list[int]] = field(default_factory=dict)
    properties: list[tuple[bytes, Box]] = field(default_factory=list)
    entries: int = 0
    joined_bytes: int = 0
    decoded: dict[int, int] = field(default_factory=dict)

    def read(self, kind: bytes, box: Box) -> None:
        """Read a box that describes items; others are left alone.

        Raises:
            ImageError: of the kind ``COSTLY``: too many items or entries; or a type is no text.
            EOFError: the box ends too early.
        """
        if kind == b"idat":
            self.data_start = box.place
        elif kind == b"ipco":
            self.properties += box.boxes()
            self._count(len(self.properties))
        elif kind == b"pitm":
            version, _ = box.version()
            self.primary = box.number(4 if version else 2)
        elif kind == b"iinf":
            self._read_types(box)
        elif kind == b"iloc":
            self._read_places(box)
        elif kind == b"iref":
            self._read_references(box)
        elif kind == b"ipma":
            self._read_numbers(box)

    def _count(self, entries: int, item: int = 0) -> None:
        self.kinds.setdefault(item, set())
        self.entries += entries
        if len(self.kinds) > MAX_ITEMS:
            raise too_costly(f"more than {MAX_ITEMS} items")
        if self.entries > MAX_ITEM_ENTRIES:
            raise too_costly(f"more than {MAX_ITEM_ENTRIES} entries in tables of items")

    def _read_types(self, box: Box) -> None:
        version, _ = box.version()
        box.take(4 if version else 2)
        for _, entry in box.boxes():
            version, _ = entry.version()
            item = entry.number(4 if version > 2 else 2)
            self._count(1, item)
            kind = entry.take(6)[2:]
            self.kinds[item].add(kind)
            if version > 1:
                _check_texts(kind, entry)

    def _read_places(self, box: Box) -> None:
        version, _ = box.version()
        sizes = box.number(2)
        of_offset, of_size, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version > 1 else 2
        for _ in range(box.number(wide)):
            item = box.number(wide)
            if version and box.number(2) & 15 == 1:
                self.within.add(item)
            box.take(2)
            base, parts = box.number(of_base), box.number(2)
            self._count(1 + parts, item)
            for _ in range(parts):
                box.take(of_index if version else 0)
                place = base + box.number(of_offset), box.number(of_size)
                self.extents.setdefault(item, []).append(place)

    def _read_references(self, box: Box) -> None:
        version, _ = box.version()
        wide = 4 if version else 2
        for kind, entry in box.boxes():
            item, size = entry.number(wide), entry.number(2)
            self._count(1 + size, item)
            others = [entry.number(wide) for _ in range(size)]
            if kind == b"dimg":
                self.parts.setdefault(item, []).extend(others)
            elif kind == b"auxl":
                for other in others:
                    self.parts.setdefault(other, []).append(item)
            elif kind == b"cdsc":
                self.users[item] = self.users.get(item, 0) + size

    def _read_numbers(self, box: Box) -> None:
        version, flags = box.version()
        wide = 2 if flags & 1 else 1
        mask = 2 ** (8 * wide - 1) - 1
        for _ in range(box.number(4)):
            item, size = box.number(4 if version else 2), box.number(1)
            self._count(1 + size, item)
            self.numbers.setdefault(item, []).extend(box.number(wide) & mask for _ in range(size))

    def of(self, item: int, kind: bytes) -> Iterator[Box]:
        """What the properties of a type say of an item."""
        for number in self.numbers.get(item, ()):
            if 0 < number <= len(self.properties) and self.properties[number - 1][0] == kind:
                box = self.properties[number - 1][1]
                yield Box(box.content, box.place, box.end, box.seen)

    def stated_pixels(self, item: int) -> int:
        """Width times height as the file states them; 0 where it does not."""
        for box in self.of(item, b"ispe"):
            try:
                box.version()
                return box.number(4) * box.number(4)
            except EOFError:
                break
        return 0

    def decoded_pixels(
        self, content: bytes, item: int, seen: count[int], depth: int = MAX_NESTED_PICTURES
    ) -> int:
        """How many pixels are decoded for an item, those of its parts among them.

        Args:
            content: the file.
            item: its number.
            seen: counts the units of coded data in the file.
            depth: how many more pictures may be within each other.

        Raises:
            ImageError: of the kind ``COSTLY``: too many units, or pictures within each other.
        """
        if not depth:
            raise too_costly(f"pictures made of pictures, more than {MAX_NESTED_PICTURES} deep")
        if item not in self.decoded:
            self.decoded[item] = 0  # should it be a part of itself
            parts = (
                self.decoded_pixels(content, part, seen, depth - 1)
                for part in self.parts.get(item, ())
            )
            self.decoded[item] = sum(parts, self._coded_pixels(content, item, seen))
        return self.decoded[item]

    def _coded_pixels(self, content: bytes, item: int, seen: count[int]) -> int:
        kinds = self.kinds.get(item, set()) - _NOT_CODED
        if not kinds:
            return 0
        data, start, end = self._bytes_of(content, item)
        if b"av01" in kinds:
            return count_av1_pixels(data, start, end, seen)
        stated = self.stated_pixels(item)  # with which libheif compares what is coded
        if not kinds & {b"hvc1", b"hev1"}:
            return stated
        wide = 4
        for config in self.of(item, b"hvcC"):
            wide = 1 + (config.content[config.place + 21 : config.end][:1] or b"\3")[0] % 4
        return stated * max(1, count_hevc_pictures(data, start, end, wide, seen))

    def _bytes_of(self, content: bytes, item: int) -> tuple[bytes, int, int]:
        """Where the bytes of an item are: a file, their start and end in it.

        Raises:
            ImageError: of the kind ``COSTLY``: items lie in more bytes than there are.
        """
        base = self.data_start if item in self.within else 0
        parts = [(base + start, size or len(content)) for start, size in self.extents.get(item, ())]
        if len(parts) == 1:
            return content, parts[0][0], min(len(content), sum(parts[0]))
        self.joined_bytes += sum(size for _, size in parts)
        if self.joined_bytes > 2 * len(content):
            raise too_costly("items in pieces, of more bytes than the file has")
        joined = b"".join(content[start : start + size] for start, size in parts)
        return joined, 0, len(joined)

    def check_metadata(self, content: bytes) -> None:
        """Bound EXIF, profiles and the like.

        Raises:
            ImageError: of the kind ``COSTLY``.
        """
        total = 0
        for item, kinds in self.kinds.items():
            total += sum(profile.end - profile.place for profile in self.of(item, b"colr"))
            if item not in self.users and b"Exif" not in kinds:
                continue
            data, start, end = self._bytes_of(content, item)
            total += max(0, end - start) * self.users.get(item, 1)
            if b"Exif" in kinds:
                offset = int.from_bytes(data[start : start + 4], "big")
                for place in (start + 4, start + 4 + offset):  # readers differ
                    check_exif(data, place, end - place)
        if total > MAX_METADATA_BYTES:
            raise too_costly(f"{total} bytes of EXIF, profiles and the like in all pictures")


def _check_texts(kind: bytes, entry: Box) -> None:
    """Refuse an item whose type, or that of its content, is no text: pi-heif would end the process.

    Source: ``_CtxImage_metadata`` of pi-heif 1.4.0; see tests/test_private_sides.py.
    """
    _, *content_type = entry.content[entry.place : entry.end].split(b"\0", 2)
    for text in (kind, *(content_type[:1] if kind == b"mime" else ())):
        try:
            text.decode()
        except UnicodeDecodeError:
            raise ImageError("a HEIC or AVIF with an item whose type is no text") from None
