"""Files that cost a decoder minutes or gigabytes, each small, and named by what it is.

`costly()` names them all, with what is found in each. Those of TIFF, HEIC and AVIF are made in
modules of their own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from corpus import chunk, encode, jpeg, replaced
from PIL import Image

START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True)
class Costly:
    """A file, and the pattern of what there is too much of."""

    content: bytes
    reason: str


def costly() -> dict[str, Costly]:
    """name → file; names tell the suffix."""
    from costly_heif import heif_files
    from costly_tiff import tiff_files

    families = [jpegs, arithmetic_jpegs, pngs, gifs, others, netpbms, tiff_files, heif_files]
    cases = {}
    for family in families:
        for name, content, reason in family():
            assert name not in cases
            cases[name] = Costly(content, reason)
    return cases


Files = Iterator[tuple[str, bytes, str]]

# JPEG


def segment(kind: int, content: bytes = b"") -> bytes:
    return b"\xff" + bytes([kind]) + struct.pack(">H", 2 + len(content)) + content


def with_header(header: bytes) -> bytes:
    """A small JPEG with more in front of its picture."""
    content = jpeg()
    return content[:2] + header + content[2:]


def with_scans(content: bytes, more: int) -> bytes:
    """A progressive JPEG whose last scan comes some times more."""
    last = content.rindex(START_OF_SCAN)
    return content[:-2] + content[last:-2] * more + b"\xff\xd9"


def stating(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that states another size; its decoder makes up the rest."""
    kinds = (b"\xff\xc0", b"\xff\xc2", b"\xff\xc9", b"\xff\xca")
    frame = next(content.index(kind) for kind in kinds if kind in content)
    return replaced(content, frame + 5, struct.pack(">HH", height, width))


def jpegs() -> Files:
    segments, parsed = "more than 1024 segments", "more than 32 segments of tables, EXIF"
    junk = "more than 1048576 bytes between the segments"
    yield "empty segments.jpg", with_header(segment(0xE5) * 9000), segments
    yield "comments.jpg", with_header(segment(0xFE, b"x") * 9000), segments
    exif = segment(0xE1, b"Exif\0\0" + bytes(60_000))
    yield "EXIF in pieces that are joined one by one.jpg", with_header(exif * 40), parsed
    resources = segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000)
    yield "Photoshop's resources.jpg", with_header(resources * 40), parsed
    tables = segment(0xDB, (b"\0" + bytes(range(1, 65))) * 1000)
    yield "tables of quantization.jpg", with_header(tables * 40), parsed
    frame = segment(0xC0, b"\x08\0\x40\0\x40\3" + b"\1\x11\0" * 20_000)
    yield "frames of many colours.jpg", with_header(frame * 40), parsed
    yield "zeros between segments.jpg", with_header(segment(0xE5) + bytes(2_000_000)), junk
    yield "fill bytes.jpg", with_header(b"\xff" * 2_000_000), junk
    yield "restarts in front of the picture.jpg", with_header(b"\xff\xd0" * 1_000_000), junk
    yield "ends in front of the picture.jpg", with_header(b"\xff\xd9" * 1_000_000), junk
    unknown = with_header((b"\xff\xf0\xff\xff" + segment(0xE5)) * 2000)
    yield "segments within one of an unknown kind.jpg", unknown, segments
    yield "no scan.jpg", b"\xff\xd8\xff" + bytes(2_000_000), junk
    progressive = jpeg(progressive=True)
    yield "scans.jpg", with_scans(progressive, 200), "more than 100 scans"
    large = stating(jpeg(Image.new("L", (16, 16)), progressive=True), 9999, 9999)
    yield "scans of many pixels.jpg", with_scans(large, 20), "more than 20 scans"
    last = progressive.rindex(START_OF_SCAN)
    between = progressive[:last] + segment(0xE0) * 9000 + progressive[last:]
    yield "segments between scans.jpg", between, segments
    # With restarts, a decoder skips the mark 02, which has no length, and finds the scans behind
    restarts = jpeg(progressive=True, restart_marker_blocks=1)
    scan = restarts[restarts.rindex(START_OF_SCAN) : -2]
    hidden = restarts[:-2] + b"\xff\x02\xf0\0" + scan * 200 + b"\xff\xd9"
    yield "scans behind a mark without a length.jpg", hidden, "more than 100 scans"


def arithmetic_jpegs() -> Files:
    """Their decoder goes on at full cost behind the end of the data."""
    import base64

    from corpus import PROGRESSIVE

    large = stating(base64.b64decode(PROGRESSIVE), 9999, 9999)
    yield "scans in arithmetic coding.jpg", with_scans(large, 9), "more than 10 scans"


# PNG


def png_with(*chunks: bytes, behind: bytes = b"") -> bytes:
    """A small PNG with more chunks, in front of the pixels or behind them."""
    content = encode(Image.new("RGB", (64, 64)))
    front, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    return content[:front] + b"".join(chunks) + content[front:end] + behind + content[end:]


def exif(tags: int, type_: int = 3, values: int = 1) -> bytes:
    """EXIF of some tags, each of so many values."""
    entries = b"".join(struct.pack(">HHII", tag + 256, type_, values, 8) for tag in range(tags))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", tags) + entries + bytes(4)


def pngs() -> Files:
    plain, packed = "more than 4096 chunks without pixels", "more than 128 compressed chunks"
    megabyte = zlib.compress(bytes(1_000_000), 9)
    yield "private chunks.png", png_with(chunk(b"prVt", b"") * 9000), plain
    text = chunk(b"tEXt", b"a\0b")
    yield "texts behind the pixels.png", png_with(behind=text * 9000), plain
    empty = chunk(b"IDAT", b"")
    yield "empty chunks of pixels.png", png_with(empty * 100_001), "more than 100000 chunks"
    yield "profiles.png", png_with(chunk(b"iCCP", b"x\0\0" + megabyte) * 140), packed
    yield "texts without a name.png", png_with(chunk(b"zTXt", b"\0\0" + megabyte) * 140), packed
    broken = b"a\0\1\0\0\0" + zlib.compress(b"\xff" * 1_000_000)
    yield "texts that are no text.png", png_with(chunk(b"iTXt", broken) * 140), packed
    tags, numbers = "more than 1024 entries in a dir", "more than 1048576 numbers in a directory"
    yield "tags of EXIF.png", png_with(chunk(b"eXIf", exif(65_000))), tags
    fractions = exif(1, 5, 200_000) + bytes(1_600_000)
    yield "fractions of EXIF.png", png_with(chunk(b"eXIf", fractions)), numbers
    nested = exif(0)[:8] + struct.pack(">HHHIIIHHHII", 1, 34665, 4, 1, 26, 0, 1, 9, 5, 200_000, 44)
    nested += bytes(1_600_100)
    yield "fractions of a directory within EXIF.png", png_with(chunk(b"eXIf", nested)), numbers
    for key in (b"exif", b"Raw profile type exif"):
        long = chunk(b"tEXt", key + b"\0" + bytes(2**22))
        yield f"{key.decode()} as text.png", png_with(long), "more than 4194304 bytes of EXIF as"
    for size in ((1, 2_000_000), (2_000_000, 1)):
        header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
        stated = f"{size[0]}x{size[1]} pixels, more than 1000000 in a row or column"
        yield f"{size[0]} by {size[1]}.png", content, stated


# GIF


def gif_with(blocks: bytes) -> bytes:
    """A GIF with more blocks in front of its picture, which lacks pixels."""
    frame = b"," + struct.pack("<HHHH", 0, 0, 64, 64) + b"\0\x02\x02\x4c\x01\0;"
    return b"GIF89a" + struct.pack("<HH", 64, 64) + b"\0\0\0" + blocks + frame


def gifs() -> Files:
    blocks = "more than 65536 blocks before the picture"
    bytewise = b"\1x" * 70_000 + b"\0"
    yield "comment in blocks of a byte.gif", gif_with(b"!\xfe" + bytewise), blocks
    yield "extension in blocks of a byte.gif", gif_with(b"!\x42" + bytewise), blocks
    yield "extensions.gif", gif_with(b"!\x42\1x\0" * 40_000), blocks
    yield "blocks behind an empty one.gif", gif_with(b"!\x42\0" + bytewise), blocks
    repeated = b"!\xff\x0bNETSCAPE2.0\0" + bytewise
    yield "blocks behind an empty count of repeats.gif", gif_with(repeated), blocks
    junk = "more than 1048576 bytes between the blocks"
    yield "zeros between blocks.gif", gif_with(bytes(2_000_000)), junk
    yield "no picture.gif", b"GIF89a" + bytes(2_000_000), junk


# WebP, BMP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bmp(width: int, height: int, compression: int, pixels: bytes) -> bytes:
    """A BMP of 8 bits in run lengths. Source: Microsoft, BITMAPINFOHEADER."""
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(pixels), 1, 1, 0, 0
    )
    palette = bytes(range(256)) * 4
    start = 14 + len(header) + len(palette)
    file_header = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return file_header + header + palette + pixels


def others() -> Files:
    canvas = (b"VP8X", bytes([8, 0, 0, 0]) + (63).to_bytes(3, "little") * 2)
    lossless = encode(Image.new("RGB", (64, 64)), "WEBP", lossless=True)[20:]
    picture = (b"VP8L", lossless)
    empty = riff(canvas, picture, *[(b"junk", b"")] * 100_000)
    yield "empty chunks.webp", empty, "more than 100000 chunks"
    tags = riff(canvas, picture, (b"EXIF", b"Exif\0\0" + exif(65_000)))
    yield "tags of EXIF.webp", tags, "more than 1024 entries in a directory of tags"
    rows = b"\1\1\0\0" * 4 + b"\0\1"
    for name, height in (("run lengths", 2), ("run lengths from the top", -2)):
        yield f"{name}.bmp", bmp(50_000_000, height, 1, rows), "100000000 pixels in run lengths"
    nothing = bmp(2000, 2000, 2, b"\1\1" * 2_200_000)
    yield "run lengths beyond the row.bmp", nothing, "more than 4194304 bytes of run lengths"


# Netpbm


def netpbms() -> Files:
    text = "pixels as text; convert it to PNG"
    yield "text.pbm", b"P1\n1000 1000\n" + b"1" * 1_000_000, text
    yield "text.pgm", b"P2 1000 1000 255\n" + b"1 " * 1_000_000, text
    yield "text.ppm", b"P3\t1000 1000 255\n" + b"1 " * 3_000_000, text
    header = "a header that does not end within 4096 bytes"
    pixels = bytes(64 * 64 * 12)
    for kind in ("P4", "P5", "P6", "Pf", "P0CMYK"):
        magic = kind.encode()
        comments = magic + b"\n" + b"#\n" * 4000 + b"64 64 255\n" + pixels
        yield f"comments.{kind.lower()}", comments, header
    yield "one long comment.ppm", b"P6 64 #" + b"x" * 9000 + b"\n64 255\n" + pixels, header
    yield "blanks.ppm", b"P6" + b" " * 9000 + b"64 64 255\n" + pixels, header
    yield "comments behind the height.pgm", b"P5 64 64\n" + b"#\n" * 4000 + b"255\n", header
    yield "comments within a number.pgm", b"P5 64 64 2" + b"#\n" * 4000 + b"55\n", header


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
