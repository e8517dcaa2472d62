"""Tells by the headers of a file whether it costs more than a picture of its size may.

Decoders trust a file: one of a thousand bytes can keep them busy for minutes, or fill the memory.
No decoder sees a file before its headers were walked here. The walk stops at the first excess, and
its verdict depends on nothing but the bytes and the limits: it is the same on every machine.

What is damaged is no matter of this module: a decoder notices that.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from pawprint.pictures.costs import MAX_PASSES, check_file_size, too_costly
from pawprint.pictures.directories import check_exif
from pawprint.pictures.heif import check_heif
from pawprint.pictures.tiff import check_tiff

MAX_SCANS = 100  # a progressive JPEG has about ten; each is a pass over all pixels
MAX_SEGMENTS = 1024  # of a JPEG: 64 MB before its first scan; a large colour profile has 255
MAX_PARSED_SEGMENTS = 32  # of those, tables, EXIF and the like; each may take some milliseconds
MAX_JUNK_BYTES = 2**20  # between two segments or blocks; each byte is looked at by itself
MAX_CHUNKS = 100_000  # of a PNG or WebP: 800 MB in chunks of the usual 8 kB
MAX_OTHER_CHUNKS = 4096  # of a PNG, which hold neither pixels nor a frame's header
MAX_PACKED_CHUNKS = 128  # of a PNG, each of which may unpack to 1 MB
MAX_HEX_BYTES = 2**22  # EXIF as text in a PNG
MAX_BLOCKS = 2**16  # of a GIF, before its first picture
MAX_RUN_LENGTH_PIXELS = 2**23  # of a BMP: each pixel may take a step by itself
MAX_RUN_LENGTH_BYTES = 2**22
HEADER_BYTES = 4096  # within which a Netpbm's header must end

_JPEG_SEGMENT = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")  # before the first scan
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")  # the end is one, too
_JPEG_FRAMES = frozenset(b"\xc0\xc1\xc2\xc3\xc5\xc6\xc7\xc9\xca\xcb\xcd\xce\xcf\xde")
_ARITHMETIC = frozenset(b"\xc9\xca\xcb\xcd\xce\xcf")
_START_OF_SCAN, _END, _QUANTIZATION, _APP1, _APP13 = 0xDA, 0xD9, 0xDB, 0xE1, 0xED
_PACKED = frozenset((b"iCCP", b"zTXt", b"iTXt"))
_HEX = (b"Raw profile type exif\0", b"exif\0")  # keys of text that is read as EXIF
_GIF_MARK = re.compile(rb"[!,;]")
_COMMENT, _APPLICATION = 0xFE, 0xFF
_GAP = rb"(?>(?:[\t-\r ]|#[^\r\n]*[\r\n])+)"
_NETPBM_SIZE = _GAP + rb"\d+" + _GAP + rb"\d+"
_NETPBM_HEADER = re.compile(
    rb"(?:P4" + _NETPBM_SIZE + rb"|P\w{1,5}" + _NETPBM_SIZE + _GAP + rb"[-+.\w]+)[\t-\r ]"
)
_NETPBM_BEGIN = re.compile(rb"P\w{1,5}(?>[\t-\r ]+|#[^\r\n]*[\r\n]?|[-+.\w]+)*")
_NETPBM_TEXT = re.compile(rb"P[123][\t-\r ]")


def check_structure(content: bytes, max_pixels: int) -> None:
    """Refuse a file that costs too much to decode.

    Args:
        content: the file's bytes, of any kind.
        max_pixels: as many as a picture may have; it bounds the passes over a progressive JPEG, and
            the bytes of the file.

    Raises:
        ImageError: of the kind ``ImageFault.COSTLY``; it says what there is too much of.
    """
    check_file_size(len(content), max_pixels)
    if kind := _KIND.match(content):
        _CHECKS[kind.lastgroup or ""](content, max_pixels)


def _check_jpeg(content: bytes, max_pixels: int) -> None:
    """Bound segments, what lies between them, and scans.

    What follows the end mark is not the picture: telephones append a film, stereo cameras another
    picture. A preview within a segment is not it either.

    Source: ITU-T T.81, annex B (segments begin with their marker and length).
    """
    pattern, place, most_scans = _JPEG_SEGMENT, 2, MAX_SCANS
    scans = parsed = junk = 0
    for _ in range(MAX_SEGMENTS):
        marker = pattern.search(content, place)
        end = marker.end() if marker else len(content)
        if not scans:
            junk += end - place
            if junk > MAX_JUNK_BYTES:
                raise too_costly(f"more than {MAX_JUNK_BYTES} bytes between the segments")
        if marker is None or (kind := content[end - 1]) == _END:
            return
        place = end + int.from_bytes(content[end : end + 2], "big")
        if kind == _START_OF_SCAN:
            scans, pattern = scans + 1, _JPEG_MARKER
        elif not scans:
            parsed += _is_parsed(content, kind, end + 2)
            if kind in _JPEG_FRAMES:
                most_scans = _most_scans(kind, content[end + 3 : end + 7], max_pixels)
        if scans > most_scans:
            raise too_costly(f"more than {most_scans} scans")
        if parsed > MAX_PARSED_SEGMENTS:
            raise too_costly(
                f"more than {MAX_PARSED_SEGMENTS} segments of tables, EXIF and the like"
            )
    raise too_costly(f"more than {MAX_SEGMENTS} segments")


def _most_scans(kind: int, size: bytes, max_pixels: int) -> int:
    """How many scans a JPEG may have, by the kind of its frame, its height and width.

    A scan in arithmetic coding takes as long as two others.
    """
    share = 2 if kind in _ARITHMETIC else 1
    pixels = int.from_bytes(size[:2], "big") * int.from_bytes(size[2:], "big")
    if not 0 < pixels <= max_pixels:  # then it is refused for its size
        return MAX_SCANS // share
    return min(MAX_SCANS, MAX_PASSES * max_pixels // pixels) // share


def _is_parsed(content: bytes, kind: int, start: int) -> bool:
    """Whether Pillow reads a segment of a JPEG entry by entry, not as a whole."""
    if kind in (_APP1, _APP13):
        return content.startswith((b"Exif\0\0", b"Photoshop 3.0\0"), start)
    return kind == _QUANTIZATION or kind in _JPEG_FRAMES


def _check_png(content: bytes, max_pixels: int) -> None:
    """Bound chunks of each kind. Source: PNG (third edition), section 5.3."""
    place = 8
    packed = other = 0
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(content):
            return
        size, kind = struct.unpack_from(">I4s", content, place)
        start = place + 8
        place = start + size + 4
        if kind in (b"IDAT", b"fdAT", b"fcTL"):
            continue
        if kind == b"IEND":
            return
        other += 1
        packed += kind in _PACKED
        if other > MAX_OTHER_CHUNKS:
            raise too_costly(f"more than {MAX_OTHER_CHUNKS} chunks without pixels")
        if packed > MAX_PACKED_CHUNKS:
            raise too_costly(f"more than {MAX_PACKED_CHUNKS} compressed chunks")
        if kind == b"eXIf":
            check_exif(content, start, size)
        if size > MAX_HEX_BYTES and content.startswith(_HEX, start):
            raise too_costly(f"more than {MAX_HEX_BYTES} bytes of EXIF as text")
    raise too_costly(f"more than {MAX_CHUNKS} chunks")


def _check_gif(content: bytes, max_pixels: int) -> None:
    """Bound what stands before the first picture, as Pillow reads it.

    Source: GIF89a, sections 15 to 26.
    """
    flags = content[10] if len(content) > 10 else 0
    place = 13 + (6 << (flags & 7) if flags & 128 else 0)
    blocks = junk = 0
    while mark := _GIF_MARK.search(content, place):
        junk += mark.end() - place
        if junk > MAX_JUNK_BYTES or blocks > MAX_BLOCKS:
            break
        if mark[0] != b"!":
            return
        place, more = _skip_extension(content, mark.end(), MAX_BLOCKS)
        blocks += more
    if blocks > MAX_BLOCKS:
        raise too_costly(f"more than {MAX_BLOCKS} blocks before the picture")
    if junk + (0 if mark else len(content) - place) > MAX_JUNK_BYTES:
        raise too_costly(f"more than {MAX_JUNK_BYTES} bytes between the blocks")


def _skip_extension(content: bytes, place: int, most: int) -> tuple[int, int]:
    """Where an extension of a GIF ends, and of how many blocks it is, up to ``most`` and one.

    Pillow reads on behind an empty first block, and behind an empty one of a repeated animation.
    """
    label = content[place : place + 1]
    place += 1
    blocks = unconditional = 0
    if label != bytes([_COMMENT]):
        is_named = content[place : place + 1] >= b"\x0b"  # its first block is long enough
        repeats = is_named and content.startswith(b"NETSCAPE2.0", place + 1)
        unconditional = 2 if label == bytes([_APPLICATION]) and repeats else 1
    while blocks <= most and place < len(content):
        size = content[place]
        place += 1 + size
        blocks += 1
        if not size and blocks > unconditional:
            break
    return place, blocks


def _check_webp(content: bytes, max_pixels: int) -> None:
    """Bound chunks. Source: RFC 9649, section 2."""
    place, end = 12, min(len(content), 8 + int.from_bytes(content[4:8], "little"))
    for _ in range(MAX_CHUNKS):
        if place + 8 > end:
            return
        kind, size = struct.unpack_from("<4sI", content, place)
        if kind == b"EXIF":
            check_exif(content, place + 8, size)
        place += 8 + size + size % 2
    raise too_costly(f"more than {MAX_CHUNKS} chunks")


def _check_bmp(content: bytes, max_pixels: int) -> None:
    """Bound run-length coding, whose decoder goes pixel by pixel.

    Source: Microsoft, BITMAPINFOHEADER (width at 18, compression at 30; 1 and 2 are run lengths).
    """
    if len(content) < 34 or content[14] == 12:
        return
    width, height, compression = struct.unpack_from("<II4xI", content, 18)
    if compression not in (1, 2):
        return
    pixels = width * min(height, 2**32 - height)  # a negative height: the rows go down
    if pixels > MAX_RUN_LENGTH_PIXELS:
        raise too_costly(f"{pixels} pixels in run lengths, more than {MAX_RUN_LENGTH_PIXELS}")
    if len(content) > MAX_RUN_LENGTH_BYTES:
        raise too_costly(f"more than {MAX_RUN_LENGTH_BYTES} bytes of run lengths")


def _check_netpbm(content: bytes, max_pixels: int) -> None:
    """Refuse pixels as text, and a header without end. Source: the manuals pbm(5) to pam(5)."""
    if _NETPBM_TEXT.match(content):
        raise too_costly("pixels as text; convert it to PNG")
    head = content[:HEADER_BYTES]
    is_open = len(content) > HEADER_BYTES and _NETPBM_BEGIN.fullmatch(head)
    if is_open and not _NETPBM_HEADER.match(head):
        raise too_costly(f"a header that does not end within {HEADER_BYTES} bytes")


_CHECKS: dict[str, Callable[[bytes, int], None]] = {
    "jpeg": _check_jpeg,
    "png": _check_png,
    "gif": _check_gif,
    "webp": _check_webp,
    "bmp": _check_bmp,
    "netpbm": _check_netpbm,
    "tiff": check_tiff,
    "heif": check_heif,
}
# What the decoders look at, and no more: they open also what ``recognize`` would not
_KIND = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<gif>GIF8[79]a)"
    rb"|(?P<webp>RIFF.{4}WEBP)|(?P<bmp>BM)|(?P<netpbm>P[0-6fy])"
    rb"|(?P<tiff>II[*+]\0|MM\0[*+]|II\0\*|MM\*\0)|(?P<heif>.{4}ftyp"
    rb"(?:avi[fs]|he[iv][cxms]|mif[12]|msf1|miaf))",
    re.DOTALL,
)
