"""HEICs and AVIFs that cost much, see ``costly``.

Source: ISO/IEC 14496-12 and 23008-12 (boxes); AV1 bitstream specification, section 5.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from corpus import encode, heic
from PIL import Image

SIDE, LARGE = 64, 2400


def box(kind: bytes, *contents: bytes) -> bytes:
    body = b"".join(contents)
    return struct.pack(">I", 8 + len(body)) + kind + body


def versioned(kind: bytes, version: int, *contents: bytes) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]), *contents)


def size_of(width: int, height: int) -> bytes:
    return versioned(b"ispe", 0, struct.pack(">II", width, height))


@dataclass(frozen=True)
class Item:
    """A picture, or what describes one.

    Attributes:
        kind: its type.
        data: its bytes.
        properties: of the file's, by their numbers from 1.
    """

    kind: bytes
    data: bytes = b""
    properties: tuple[int, ...] = ()


Reference = tuple[bytes, int, list[int]]  # its type, from which item, to which


def album(
    brand: bytes,
    items: list[Item],
    properties: list[bytes],
    references: list[Reference] | None = None,
    more: bytes = b"",
) -> bytes:
    """A file of items, numbered from 1; the first one is shown, and equal bytes lie there once."""
    data = b"".join(dict.fromkeys(item.data for item in items))

    def meta(start: int) -> bytes:
        places = b"".join(
            struct.pack(">HHHII", number, 0, 1, start + data.index(item.data), len(item.data))
            for number, item in enumerate(items, 1)
        )
        kinds = [
            versioned(b"infe", 2, struct.pack(">HH", number, 0), item.kind, b"\0")
            for number, item in enumerate(items, 1)
        ]
        numbers = b"".join(
            struct.pack(">HB", number, len(item.properties)) + bytes(item.properties)
            for number, item in enumerate(items, 1)
        )
        links = [
            box(kind, struct.pack(f">HH{len(to)}H", item, len(to), *to))
            for kind, item, to in references or []
        ]
        return versioned(
            b"meta",
            0,
            versioned(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            versioned(b"pitm", 0, struct.pack(">H", 1)),
            versioned(b"iloc", 0, b"\x44\0", struct.pack(">H", len(items)), places),
            versioned(b"iinf", 0, struct.pack(">H", len(items)), *kinds),
            versioned(b"iref", 0, *links) if links else b"",
            box(
                b"iprp",
                box(b"ipco", *properties),
                versioned(b"ipma", 0, struct.pack(">I", len(items)), numbers),
            ),
            more,
        )

    head = box(b"ftyp", brand, bytes(4), brand, b"mif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", data)


def inner(content: bytes, *path: bytes) -> bytes:
    """What the first box of a type holds, within others."""
    for kind in path:
        at = content.index(kind)
        content = content[at + 4 : at - 4 + int.from_bytes(content[at - 4 : at], "big")]
    return content


def parts(content: bytes) -> tuple[list[bytes], bytes]:
    """The properties of a file of one picture, each a box, and the coded data."""
    rest, properties = inner(content, b"ipco"), []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        properties.append(rest[:size])
        rest = rest[size:]
    return properties, inner(content, b"mdat")


def heif_files() -> Iterator[tuple[str, bytes, str]]:
    flat = Image.new("RGB", (LARGE, LARGE))
    for suffix, brand, kind, content in (
        ("avif", b"avif", b"av01", encode(flat, "AVIF", speed=10)),
        ("heic", b"heic", b"hvc1", heic(flat)),
    ):
        properties, data = parts(content)
        all_of_them = tuple(range(1, len(properties) + 1))
        picture = Item(kind, data, all_of_them)
        sized = [*properties, size_of(SIDE, SIDE)]
        small = (len(sized),)
        for name, found, reason in (
            *_files_of_pixels(kind, picture, sized, small),
            *_files_of_tables(picture, properties),
            *_files_of_metadata(picture, properties),
        ):
            yield f"{name}.{suffix}", album(brand, *found), reason
        yield from _files_of_boxes(suffix, album(brand, [picture], properties))
    yield from _avif_files()


Found = tuple[list[Item], list[bytes], list[Reference]]


def _files_of_pixels(
    kind: bytes, picture: Item, properties: list[bytes], small: tuple[int, ...]
) -> Iterator[tuple[str, Found, str]]:
    decoded = r"\d+ pixels to decode for a picture of 4096"
    tiles = list(range(2, 18))
    grid = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 3, 3, SIDE, SIDE), small)
    yield (
        "large parts of a small grid",
        ([grid, *[picture] * 16], properties, [(b"dimg", 1, tiles)]),
        decoded,
    )
    overlay = Item(b"iovl", bytes(2 + 8 + 4), small)
    yield (
        "a large part many times",
        ([overlay, picture], properties, [(b"dimg", 1, [2] * 16)]),
        decoded,
    )
    again = Item(kind, picture.data * 16, picture.properties)
    yield (
        "many pictures in one",
        ([again], properties, []),
        f"{16 * LARGE**2} pixels to decode for a pic",
    )
    chain = [Item(b"iden", b"", small)] * 20
    links = [(b"dimg", number, [number + 1]) for number in range(1, 21)]
    yield (
        "pictures made of pictures",
        ([*chain, picture], properties, links),
        "pictures made of pictures, more than 16",
    )
    layers = [picture, *[picture] * 9]
    over = [(b"auxl", number, [1]) for number in range(2, 11)]
    yield (
        "layers",
        (layers, properties, over),
        f"{10 * LARGE**2} pixels to decode for a picture of {LARGE**2}",
    )
    double = [Item(b"iden", b"", small)] * 12 + [picture]
    twice = [(b"dimg", number, [number + 1] * 2) for number in range(1, 13)]
    yield "parts that double", (double, properties, twice), f"{2**12 * LARGE**2} pixels to decode"


def _files_of_tables(picture: Item, properties: list[bytes]) -> Iterator[tuple[str, Found, str]]:
    many = [(b"cdsc", number, [1]) for number in range(1, 5000)]
    yield "references from items", ([picture], properties, many), "more than 4096 items"
    long = [(b"cdsc", 1, [1] * 65_535)]
    yield "references", ([picture], properties, [*long, *long]), "more than 65536 entries in tables"


def _files_of_metadata(picture: Item, properties: list[bytes]) -> Iterator[tuple[str, Found, str]]:
    found = r"\d+ bytes of EXIF, profiles and the like in all pictures"
    others = [Item(picture.kind, b"", picture.properties)] * 200
    numbers = list(range(1, 202))
    exif = Item(b"Exif", bytes(4) + b"II*\0\x08\0\0\0\0\0" + bytes(400_000))
    yield (
        "EXIF that is shared",
        ([picture, *others, exif], properties, [(b"cdsc", 202, numbers)]),
        found,
    )
    profile = box(b"colr", b"prof", bytes(400_000))
    shared = [
        Item(item.kind, item.data, (*item.properties, len(properties) + 1))
        for item in (picture, *others)
    ]
    yield "profile that is shared", (shared, [*properties, profile], []), found


def _files_of_boxes(suffix: str, content: bytes) -> Iterator[tuple[str, bytes, str]]:
    many = "more than 16384 boxes"
    yield f"boxes.{suffix}", content + box(b"free") * 20_000, many
    nested = b""
    for _ in range(20):
        nested = box(b"moov", nested)
    yield f"boxes within boxes.{suffix}", content + nested, "boxes within boxes, more than 16 deep"
    # Offsets and sizes of no bytes: a part of an item takes none
    places = b"".join(struct.pack(">HHH", number, 0, 65_535) for number in (1, 2, 3))
    table = versioned(b"iloc", 0, b"\0\0", struct.pack(">H", 3), places)
    yield (
        f"parts of no bytes.{suffix}",
        content + versioned(b"meta", 0, table),
        "more than 65536 entries in tables",
    )
    pieces = struct.pack(">HHH", 1, 0, 9) + struct.pack(">II", 0, 10**6) * 9
    table = versioned(b"iloc", 0, b"\x44\0", struct.pack(">H", 1), pieces)
    table += versioned(b"pitm", 0, struct.pack(">H", 1))
    table += versioned(
        b"iinf", 0, struct.pack(">H", 1), versioned(b"infe", 2, struct.pack(">HH", 1, 0), b"av01\0")
    )
    yield (
        f"an item in overlapping pieces.{suffix}",
        content + versioned(b"meta", 0, table),
        "items in pieces, of more bytes than",
    )


def _avif_files() -> Iterator[tuple[str, bytes, str]]:
    large = Image.new("RGB", (LARGE, LARGE))
    decoded = f"{LARGE**2} pixels to decode for a picture of 4096"
    stated = size_of(LARGE, LARGE)[8:]
    lie = encode(large, "AVIF", speed=10).replace(stated, size_of(SIDE, SIDE)[8:])
    yield "small size of a large picture.avif", lie, decoded
    file = io.BytesIO()
    large.save(file, "AVIF", speed=10, save_all=True, append_images=[large.rotate(90)])
    film = file.getvalue()
    at = film.index(b"tkhd")
    end = at - 4 + int.from_bytes(film[at - 4 : at], "big")
    short = film[: end - 8] + struct.pack(">II", SIDE << 16, SIDE << 16) + film[end:]
    yield "small size of a large film.avif", short.replace(stated, size_of(SIDE, SIDE)[8:]), decoded
    frames = film.index(b"stsz") + 12
    endless = film[: frames - 4] + struct.pack(">II", 1, 2**24) + film[frames + 4 :]
    yield "frames.avif", endless, "more than 1048576 frames"
    exceeding = Item(b"av01", exceeding_frame(), (1,))
    content = album(b"avif", [exceeding], [size_of(SIDE, SIDE)])
    yield "a frame larger than its sequence.avif", content, r"4294967296 pixels to decode for a pic"
    units = Item(b"av01", b"\x7a\0" * 70_000, (1,))
    content = album(b"avif", [units], [size_of(SIDE, SIDE)])
    yield "units of coded data.avif", content, "more than 65536 units of coded data"


def exceeding_frame() -> bytes:
    """The headers of an AV1 sequence of 16x16 pixels, and of a frame that states its own size."""
    sequence = "000000000000" + "0" * 12 + "00000"  # profile to level
    sequence += "11111111" + f"{15:016b}" * 2  # the size, in 16 bits
    sequence += "0" + "0" * 7 + "011" + "0" * 6  # each frame tells whether it is of a screen
    frame = "0001001" + f"{8000:016b}" * 2  # the last but the size: it differs
    return b"".join(
        bytes([kind << 3 | 2, len(payload)]) + payload
        for kind, bits in ((1, sequence), (6, frame))
        for payload in [
            int(bits.ljust(-len(bits) % 8 + len(bits), "0"), 2).to_bytes(-(-len(bits) // 8), "big")
        ]
    )
