"""What a file is, told by its first bytes: suffixes lie, and some files have none.

A further kind is a line in ``FILE_KINDS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 512  # what ``recognize`` needs of a file


@dataclass(frozen=True)
class FileKind:
    """One kind of file.

    Attributes:
        name: with its article, as messages say it: ``a JPEG``, ``a gzip archive``.
        role: ``picture`` (one that Pawprint reads), ``container`` (holds other files) or ``other``.
        pattern: of its first bytes.
        advice: what to do with one that stands where a picture should; empty: nothing to say.
    """

    name: str
    role: Literal["picture", "container", "other"]
    pattern: re.Pattern[bytes]
    advice: str = ""


def _starts(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\A(?:" + pattern + rb")", re.DOTALL)


def _ftyp(*brands: bytes) -> re.Pattern[bytes]:
    """An ISO base media file of one of these brands. Source: ISO/IEC 14496-12, section 4.3."""
    return _starts(rb".{4}ftyp(?:" + b"|".join(brands) + rb")")


# What says HEIF in general, and its codec among the compatible brands only
_ANY_HEIF = rb"(?:mif[12]|msf1|miaf)"
HEIC = FileKind("a HEIC", "picture", _ftyp(b"hei[cxms]", b"hev[cxms]", _ANY_HEIF))
# A comment ends at its first end mark, and is never looked at in another way: there are too many
_MARKUP = rb"(?:\xef\xbb\xbf)?\s*(?:<!--(?>.*?-->)\s*)*+"
_CONVERT = "convert it to JPEG or PNG"
_UNPACK = "unpack it"

EMPTY_FILE = FileKind("an empty file", "other", re.compile(rb"\Z"))  # has no first bytes
FILE_KINDS = (
    FileKind("a JPEG", "picture", _starts(rb"\xff\xd8\xff")),
    FileKind("a PNG", "picture", _starts(rb"\x89PNG\r\n\x1a\n")),
    FileKind("a GIF", "picture", _starts(rb"GIF8[79]a")),
    FileKind("a WebP", "picture", _starts(rb"RIFF.{4}WEBP")),
    FileKind("a TIFF", "picture", _starts(rb"II[*+]\0|MM\0[*+]")),
    FileKind("a Netpbm picture", "picture", _starts(rb"P[1-6]\s(?:\s*#[^\n]*\n)*\s*\d+\s+\d+\s")),
    FileKind(
        *("an AVIF", "picture"),
        _ftyp(b"avi[fs]", _ANY_HEIF + rb".{4}(?:(?!he[iv]).{4}){0,8}?avi[fs]"),
    ),
    HEIC,
    FileKind("a BMP", "picture", _starts(rb"BM.{4}\0{4}")),
    FileKind("a JPEG 2000", "other", _starts(rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51"), _CONVERT),
    FileKind("a JPEG XL", "other", _starts(rb"\xff\x0a|\0\0\0\x0cJXL \r\n"), _CONVERT),
    FileKind("a Photoshop file", "other", _starts(rb"8BPS"), _CONVERT),
    FileKind("an icon", "other", _starts(rb"\0\0[\x01\x02]\0"), _CONVERT),
    FileKind("a DICOM file", "other", _starts(rb".{128}DICM"), _CONVERT),
    FileKind(
        "a film", "other", _ftyp(b"isom", b"iso\\d", b"mp4.", b"qt  ", b"M4V ", b"avc1", b"3gp.")
    ),
    FileKind("a film", "other", _starts(rb"\x1aE\xdf\xa3|RIFF.{4}AVI ")),
    FileKind("a PDF", "other", _starts(rb"%PDF-"), "export its pictures"),
    FileKind("a zip", "container", _starts(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), _UNPACK),
    FileKind("a gzip archive", "container", _starts(rb"\x1f\x8b"), _UNPACK),
    FileKind("a bzip2 archive", "container", _starts(rb"BZh[1-9]"), _UNPACK),
    FileKind("an xz archive", "container", _starts(rb"\xfd7zXZ\0"), _UNPACK),
    FileKind("a Zstandard archive", "container", _starts(rb"\x28\xb5\x2f\xfd"), _UNPACK),
    FileKind("a 7z archive", "container", _starts(rb"7z\xbc\xaf\x27\x1c"), _UNPACK),
    FileKind("a RAR archive", "container", _starts(rb"Rar!\x1a\x07"), _UNPACK),
    FileKind("a tar archive", "container", _starts(rb".{257}ustar"), _UNPACK),
    FileKind(
        *("a Git LFS pointer", "other", _starts(rb"version https://git-lfs\.github\.com/")),
        "fetch the pictures themselves: git lfs pull",
    ),
    FileKind(
        *("an HTML page", "other", _starts(_MARKUP + rb"<(?i:!doctype\s+html|html|head|body)")),
        "a page that was saved in place of the file: download it again",
    ),
    FileKind("an SVG drawing", "other", _starts(_MARKUP + rb"(?:<\?xml.*?)?<svg\b"), _CONVERT),
    FileKind("an XML file", "other", _starts(_MARKUP + rb"<\?xml")),
)


def recognize(head: bytes) -> FileKind | None:
    """The kind of a file; None if it is none that is known here.

    Args:
        head: its first ``HEAD_BYTES`` bytes; fewer where it is shorter.

    >>> recognize(b"GIF89a...").name, recognize(b"Rar!\\x1a\\x07\\x01\\x00").role
    ('a GIF', 'container')
    """
    return next((kind for kind in FILE_KINDS if kind.pattern.match(head)), None)
