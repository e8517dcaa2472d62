"""Decodes the names in an archive that does not say how they are encoded."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence

from pawprint.runner.errors import SourceError

# Code pages by which systems have written names, those of many bytes a letter first
CODE_PAGES = (
    *("cp932", "gb18030", "cp949", "big5"),
    *("cp437", "cp850", "cp1252", "cp1251", "cp866"),
)
UNICODE_PATH = 0x7075  # Info-ZIP's extra field


def decode_names(names: Sequence[str | bytes], encoding: str, place: str) -> list[str]:
    """Decodes all names of one archive alike: a single name can be read in many ways.

    Args:
        names: as text where the archive says how to read them, else as bytes.
        encoding: data.names_encoding: of the bytes; empty: UTF-8, if all of them are.
        place: what the names belong to, for messages.

    Raises:
        SourceError: they are not of this encoding, or none is given and they are not UTF-8.
    """
    texts = []
    for name in names:
        try:
            texts.append(name if isinstance(name, str) else name.decode(encoding or "utf-8"))
        except UnicodeError:
            if encoding:
                raise SourceError(
                    f"{place}: expected names in data.names_encoding = {encoding}, found "
                    f"{name[:80]!r}: set another one, or '' where it is UTF-8"
                ) from None
            break
    else:
        return texts
    stored = [name for name in names if isinstance(name, bytes) and not name.isascii()]
    unknown = sum(not _is_utf8(name) for name in stored)
    readings = _read_in_all(stored)
    shown = ", ".join(f"{text!r} in {codec}" for codec, text in readings.items())
    raise SourceError(
        f"{place}: expected names in UTF-8, found {unknown} in an encoding that is not told; "
        f"one of them reads {shown or 'well in none that is known here'}: set the right one, as "
        f"-S data.names_encoding={'ONE_OF_THESE' if readings else 'ITS_NAME'}, or pack the "
        "pictures anew"
    )


def _read_in_all(names: Sequence[bytes]) -> dict[str, str]:
    """Encoding → how the first name that is not UTF-8 reads, where all names can be read so."""
    first = next(i for i, name in enumerate(names) if not _is_utf8(name))
    readings = {}
    for codec in CODE_PAGES:
        try:
            texts = [name.decode(codec) for name in names]
        except UnicodeDecodeError:
            continue
        if all(text.isprintable() for text in texts):
            part = next(p for p in re.split(r"[/\\]", texts[first]) if not p.isascii())
            readings[codec] = part[:40]
    return readings


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def unicode_path(extra: bytes, raw_name: bytes) -> str | None:
    """The name in a zip's extra field of Unicode, if that belongs to this name.

    Source: Info-ZIP, APPNOTE.TXT, section 4.6.9.
    """
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<HH", extra)
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if tag == UNICODE_PATH and len(data) > 5 and data[0] == 1:
            (crc,) = struct.unpack_from("<L", data, 1)
            if crc == zlib.crc32(raw_name):
                try:
                    return data[5:].decode()
                except UnicodeDecodeError:
                    return None
    return None
