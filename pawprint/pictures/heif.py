"""Bounds what a HEIC or AVIF holds, and the pixels that lie behind the size that it states.

A picture may be a grid of others, each of these has a size of its own in its coded data, and any of
them may state little and hold much.

Source: ISO/IEC 23008-12 (items and their properties), ISO/IEC 14496-12 (their places, and tracks).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from pawprint.pictures.bitstreams import count_av1_pixels, count_hevc_pictures
from pawprint.pictures.boxes import Box, walk_boxes
from pawprint.pictures.costs import too_costly
from pawprint.pictures.directories import check_exif

MAX_ITEMS = 4096  # decoders look for each among all others; 200 megapixels of a telephone have 800
MAX_ENTRIES = 2**16  # of all tables of items together
MAX_NESTED = 16  # pictures made of pictures
MAX_SAMPLES = 2**20  # frames of a film
MAX_METADATA_BYTES = 2**26  # once for each picture that they describe
SPARE_PIXELS = 2**22  # that may be decoded beyond four times those of the picture


@dataclass
class _Items:
    """What a file says of its pictures, and of what describes them: its items.

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
            ImageError: of the kind ``COSTLY``: too many items or entries.
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
        if self.entries > MAX_ENTRIES:
            raise too_costly(f"more than {MAX_ENTRIES} entries in tables of items")

    def _read_types(self, box: Box) -> None:
        version, _ = box.version()
        box.take(4 if version else 2)
        for _, entry in box.boxes():
            version, _ = entry.version()
            item = entry.number(4 if version > 2 else 2)
            self._count(1, item)
            self.kinds[item].add(entry.take(6)[2:])

    def _read_places(self, box: Box) -> None:
        version, _ = box.version()
        sizes = box.number(2)
        of_offset, of_size, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(box.number(4 if version > 1 else 2)):
            item = box.number(4 if version > 1 else 2)
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
        for _ in range(box.number(4)):
            item, size = box.number(4 if version else 2), box.number(1)
            self._count(1 + size, item)
            mask = 2 ** (8 * wide - 1) - 1
            self.numbers.setdefault(item, []).extend(box.number(wide) & mask for _ in range(size))

    def property(self, item: int, kind: bytes) -> Box | None:
        """What the first property of a type says of an item."""
        for number in self.numbers.get(item, ()):
            if 0 < number <= len(self.properties) and self.properties[number - 1][0] == kind:
                box = self.properties[number - 1][1]
                return Box(box.content, box.place, box.end, box.seen)
        return None

    def stated_pixels(self, item: int) -> int:
        box = self.property(item, b"ispe")
        if box is None or box.end - box.place < 12:
            return 0
        box.version()
        return box.number(4) * box.number(4)

    def decoded_pixels(
        self, content: bytes, item: int, seen: count[int], depth: int = MAX_NESTED
    ) -> int:
        """How many pixels are decoded for an item, those of its parts among them.

        Raises:
            ImageError: of the kind ``COSTLY``: too many units, or pictures within each other.
        """
        if not depth:
            raise too_costly(f"pictures made of pictures, more than {MAX_NESTED} deep")
        if item not in self.decoded:
            self.decoded[item] = 0  # should it be a part of itself
            parts = self.parts.get(item, ())
            own = self._coded_pixels(content, item, seen)
            self.decoded[item] = own + sum(
                self.decoded_pixels(content, part, seen, depth - 1) for part in parts
            )
        return self.decoded[item]

    def _coded_pixels(self, content: bytes, item: int, seen: count[int]) -> int:
        kinds = self.kinds.get(item, set())
        if not kinds & {b"av01", b"hvc1", b"hev1"}:
            return 0
        data, start, end = self._bytes_of(content, item)
        if b"av01" in kinds:
            return count_av1_pixels(data, start, end, seen)
        config = self.property(item, b"hvcC")
        wide = 4
        if config is not None and config.end - config.place > 21:
            wide = 1 + (config.content[config.place + 21] & 3)
        pictures = count_hevc_pictures(data, start, end, wide, seen)
        return self.stated_pixels(item) * max(1, pictures)

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
        """Bound EXIF and the like.

        Raises:
            ImageError: of the kind ``COSTLY``.
        """
        total = 0
        for item, kinds in self.kinds.items():
            if not kinds & {b"Exif", b"mime"}:
                continue
            data, start, end = self._bytes_of(content, item)
            total += max(0, end - start) * max(1, self.users.get(item, 1))
            offset = int.from_bytes(data[start : start + 4], "big")
            for place in (start + 4, start + 4 + offset):  # readers differ
                check_exif(data, place, end - place)
        if total > MAX_METADATA_BYTES:
            raise too_costly(f"{total} bytes of EXIF and the like, once for each picture")


@dataclass
class _Track:
    """What a file says of a film of which the first frame is the picture.

    Attributes:
        stated: pixels of a frame.
        kind: of its coded data.
        place: where the first frame is.
        size_bytes: of the first frame.
    """

    stated: int = 0
    kind: bytes = b""
    place: int = 0
    size_bytes: int = 0

    def read(self, kind: bytes, box: Box) -> None:
        """Read a box that describes the film; others are left alone.

        Raises:
            ImageError: of the kind ``COSTLY``: too many frames.
            EOFError: the box ends too early.
        """
        if kind == b"tkhd":
            box.place = max(box.place, box.end - 8)
            self.stated = (box.number(4) >> 16) * (box.number(4) >> 16)
        elif kind == b"stsd":
            box.take(8)
            self.kind = next((name for name, _ in box.boxes()), b"")
        elif kind in (b"stco", b"co64"):
            box.take(8)
            self.place = box.number(4 if kind == b"stco" else 8)
        elif kind == b"stsz":
            box.take(4)
            each, frames = box.number(4), box.number(4)
            if frames > MAX_SAMPLES:
                raise too_costly(f"more than {MAX_SAMPLES} frames")
            self.size_bytes = each or box.number(4)

    def decoded_pixels(self, content: bytes, seen: count[int]) -> int:
        """How many pixels are decoded for the first frame."""
        end = self.place + self.size_bytes
        if self.kind == b"av01":
            return count_av1_pixels(content, self.place, end, seen)
        if self.kind in (b"hvc1", b"hev1"):
            return self.stated * count_hevc_pictures(content, self.place, end, 4, seen)
        return 0


def check_heif(content: bytes, max_pixels: int) -> None:
    """Refuse a HEIC or AVIF that holds too much.

    Args:
        content: a file that begins as these do.
        max_pixels: as many as a picture may have.

    Raises:
        ImageError: of the kind ``COSTLY``; it says what there is too much of.
    """
    albums, tracks = [_Items()], [_Track()]
    for kind, box in walk_boxes(content):
        if kind == b"meta":
            albums.append(_Items())
        elif kind == b"trak":
            tracks.append(_Track())
        try:
            albums[-1].read(kind, box)
            tracks[-1].read(kind, box)
        except EOFError:
            continue  # cut short: a decoder refuses it
    seen = count()
    for items in albums:
        items.check_metadata(content)
        stated = items.stated_pixels(items.primary)
        if stated <= max_pixels or items.property(items.primary, b"clap"):
            _check_pixels(items.decoded_pixels(content, items.primary, seen), stated, max_pixels)
    for track in tracks:
        if track.stated <= max_pixels:
            _check_pixels(track.decoded_pixels(content, seen), track.stated, max_pixels)


def _check_pixels(decoded: int, stated: int, max_pixels: int) -> None:
    """Bound the pixels to decode; a picture that states too many is refused for its size later.

    Twice as many as may be are decoded for one with transparency.
    """
    if decoded > min(4 * stated, 2 * max_pixels) + SPARE_PIXELS:
        raise too_costly(f"{decoded} pixels to decode for a picture of {stated}")
