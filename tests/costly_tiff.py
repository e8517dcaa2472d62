"""TIFFs that cost much, see ``costly``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

from corpus import jpeg
from costly import with_scans
from PIL import Image

_CODES = {1: "B", 3: "H", 4: "I", 5: "I", 6: "b", 7: "B", 16: "Q"}
_OFFSETS = (273, 324)
Tag = tuple[int, int, Sequence[int] | bytes]  # its number, its type, its values


def tiff(tags: list[Tag], data: bytes = b"", order: str = "<", is_big: bool = False) -> bytes:
    """A TIFF, or a BigTIFF, whose offsets of strips or tiles all lead to the data.

    Source: TIFF 6.0, section 2; the BigTIFF design of libtiff.
    """
    start = len(_lay_out(tags, order, is_big))
    placed = [
        (number, type_, [start] * len(values) if number in _OFFSETS else values)
        for number, type_, values in tags
    ]
    return _lay_out(placed, order, is_big) + data


def _lay_out(tags: list[Tag], order: str, is_big: bool) -> bytes:
    size, word = (8, "Q") if is_big else (4, "I")
    head = struct.pack(
        order + ("HHHQ" if is_big else "HI"), *((43, 8, 0, 16) if is_big else (42, 8))
    )
    head = (b"II" if order == "<" else b"MM") + head
    count = struct.pack(order + ("Q" if is_big else "H"), len(tags))
    behind = len(head) + len(count) + len(tags) * (4 + 2 * size) + size
    entries, arrays = [], bytearray()
    for number, type_, values in sorted(tags, key=lambda tag: tag[0]):
        code = _CODES[type_]
        content = (
            bytes(values)
            if isinstance(values, bytes)
            else struct.pack(f"{order}{len(values)}{code}", *values)
        )
        times = len(content) // (8 if type_ == 5 else struct.calcsize("<" + code))
        field = content.ljust(size, b"\0")
        if len(content) > size:
            field = struct.pack(order + word, behind + len(arrays))
            arrays += content
        entries.append(struct.pack(order + "HH" + word, number, type_, times) + field)
    return head + count + b"".join(entries) + bytes(size) + bytes(arrays)


def picture(
    width: int, height: int, *more: Tag, compression: int = 8, colours: int = 3
) -> list[Tag]:
    """Tags of a picture of 8 bits; those that are given replace others."""
    tags: list[Tag] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [8] * colours),
        (259, 3, [compression]),
        (262, 3, [2 if colours == 3 else 1]),
        (277, 3, [colours]),
    ]
    given = {tag[0] for tag in more}
    return [tag for tag in tags if tag[0] not in given] + list(more)


def tiled(width: int, height: int, side: int, tiles: int, size: int = 9) -> list[Tag]:
    places: list[Tag] = [(322, 4, [side]), (323, 4, [side])]
    return picture(width, height, *places, (324, 4, [0] * tiles), (325, 4, [size] * tiles))


def stripped(
    width: int, height: int, rows: int, size: int, *more: Tag, **options: int
) -> list[Tag]:
    strips = -(-height // rows)
    places: list[Tag] = [(278, 4, [rows]), (273, 4, [0] * strips), (279, 4, [size] * strips)]
    return picture(width, height, *places, *more, **options)


def tiff_files() -> Iterator[tuple[str, bytes, str]]:
    yield from _files_of_many_tiles()
    yield from _files_of_shared_data()
    yield from _files_of_many_tags()


def _files_of_many_tiles() -> Iterator[tuple[str, bytes, str]]:
    large = "1 tiles or strips of 20000x20000 for 1x1 pixels"
    data = zlib.compress(bytes(1000))
    for name, order, is_big in (
        *(("little", "<", False), ("big", ">", False)),
        *(("little BigTIFF", "<", True), ("big BigTIFF", ">", True)),
    ):
        yield f"large tile, {name}.tif", tiff(tiled(1, 1, 20_000, 1), data, order, is_big), large
    named = [(273 if tag == 324 else tag, kind, v) for tag, kind, v in tiled(1, 1, 20_000, 1)]
    yield "large tile by the name of a strip.tif", tiff(named, data), large
    many = "more than 100000 tiles or strips"
    yield "tiles.tif", tiff(tiled(400, 400, 1, 1)), many
    listed = picture(1, 1, (278, 4, [1]), (273, 4, [0] * 100_001))
    yield "offsets of strips.tif", tiff(listed), many
    counted = picture(1, 1, (278, 4, [1]), (273, 4, [0]), (279, 3, [9] * 100_001))
    yield "sizes of strips.tif", tiff(counted), many
    high = picture(1, 900_000, (278, 4, [1]), (273, 4, [0]), (279, 4, [9]))
    yield "strips of a row that are not listed.tif", tiff(high), many
    again = picture(3000, 3001, (278, 4, [3000]), (273, 4, [0] * 1000), (279, 4, [9] * 1000))
    yield "strips once more.tif", tiff(again), "1000 tiles or strips of 3000x3000 for 3000x3001"


def _files_of_shared_data() -> Iterator[tuple[str, bytes, str]]:
    empty = b"\x78\x01" + b"\0\0\0\xff\xff" * 20_000  # blocks that hold nothing
    shared = stripped(1000, 4000, 1, len(empty))
    yield "strips in the same bytes.tif", tiff(shared, empty), "400008000 bytes of coded data in"
    unsized = [tag for tag in shared if tag[0] != 279]
    yield "strips of no size.tif", tiff(unsized, empty), r"\d+ bytes of coded data in a file of"
    scans = with_scans(jpeg(Image.new("RGB", (2000, 16)), progressive=True), 80)
    strips = stripped(2000, 20_000, 16, len(scans), (262, 3, [6]), compression=7)
    found = r"\d+ scans in tiles or strips of 2000x16"
    yield "progressive strips.tif", tiff(strips, scans), found


def _files_of_many_tags() -> Iterator[tuple[str, bytes, str]]:
    strip: list[Tag] = [(273, 4, [0]), (279, 4, [9])]
    tags = "more than 1024 entries in a directory of tags"
    many: list[Tag] = [(60_000, 3, [0])] * 2000
    yield "tags.tif", tiff(picture(1, 1, *strip, *many)), tags
    yield "tags of a BigTIFF.tif", tiff(picture(1, 1, *strip, *many), is_big=True), tags
    numbers = "more than 1048576 numbers in a directory of tags"
    million = 1_100_000
    bits: Tag = (258, 3, bytes(2 * million))
    yield "bits.tif", tiff(picture(1, 1, *strip, bits)), numbers
    signed: Tag = (258, 6, bytes(million))
    yield "signed bits.tif", tiff(picture(1, 1, *strip, signed)), numbers
    fractions: Tag = (282, 5, bytes(million))
    yield "fractions.tif", tiff(picture(1, 1, *strip, fractions)), numbers
    nested = tiff(picture(1, 1, *strip, (34665, 4, [0])))
    nested = tiff(picture(1, 1, *strip, (34665, 4, [len(nested)])))
    nested += struct.pack("<HHHII", 1, 5, 5, 140_000, 8) + bytes(2 * million)
    yield "fractions of EXIF.tif", nested, numbers
