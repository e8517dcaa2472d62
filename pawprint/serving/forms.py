"""Forms with files (RFC 7578), cut at their boundary where they lie in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from pawprint.serving.limits import Refusal

MAX_BOUNDARY_BYTES = 256  # the standard says 70
MAX_PREAMBLE_BYTES = 1000  # up to the first boundary; nobody reads it
MAX_HEADERS, MAX_HEAD_BYTES = 8, 8192  # of a part
LINE_END = re.compile(rb"[ \t]{0,100}\r\n")
PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")


@dataclass(frozen=True)
class FormPart:
    """A field of a form.

    Attributes:
        field: its name.
        file_name: as the client said; None where the field is no file.
        content: its bytes.
    """

    field: str
    file_name: str | None
    content: bytes


def read_parts(content_type: str, body: bytes) -> Iterator[FormPart]:
    """The parts of a form, one by one, in time linear in its size.

    Args:
        content_type: the header, which tells the boundary.
        body: the form.

    Raises:
        Refusal: it is no form, its end is missing, or a part has too many headers. A line that
            begins as the boundary does is one, or a fault, as the standard says.
    """
    delimiter = b"\r\n--" + _read_boundary(content_type)
    place = _find_first(body, delimiter)
    while not body.startswith(b"--", place):
        found = LINE_END.match(body, place)
        if found is None:
            raise _malformed("expected the end of the line behind each boundary of the form")
        end = body.find(delimiter, found.end() - 2)
        if end < 0:
            raise _malformed("expected a boundary at the end of the form, found none: it was cut")
        head_end = body.find(b"\r\n\r\n", found.end() - 2, min(end, found.end() + MAX_HEAD_BYTES))
        if head_end < 0:
            raise _malformed(
                f"expected at most {MAX_HEAD_BYTES} bytes of headers and an empty line in each part"
            )
        field, file_name = _read_head(body[found.end() : head_end])
        yield FormPart(field, file_name, body[head_end + 4 : end])
        place = end + len(delimiter)


def _read_boundary(content_type: str) -> bytes:
    options = parse_options_header(content_type)[1]
    # Others fail in their own ways, and give names that no answer can hold
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise _malformed("charset: expected utf-8, or none, in Content-Type")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise _malformed(f"boundary: expected 1 to {MAX_BOUNDARY_BYTES} bytes in Content-Type")
    return boundary


def _find_first(body: bytes, delimiter: bytes) -> int:
    """Behind the first boundary; a line end before it may be missing."""
    if body.startswith(delimiter[2:]):
        return len(delimiter) - 2
    found = body.find(delimiter, 0, MAX_PREAMBLE_BYTES)
    if found < 0:
        raise _malformed("expected the boundary of Content-Type at the beginning of the form")
    return found + len(delimiter)


def _read_head(head: bytes) -> tuple[str, str | None]:
    """The field's name and the file's, out of the headers of a part."""
    if head.count(b"\r\n") >= MAX_HEADERS:
        raise _malformed(f"expected at most {MAX_HEADERS} headers in each part, found more")
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if headers.setdefault(name.lower(), value.strip()) != value.strip():
            raise _malformed("expected each header once in a part, found one twice")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in PLAIN_ENCODINGS:
        raise _malformed("Content-Transfer-Encoding: expected binary, or none, in each part")
    options = parse_options_header(headers.get(b"content-disposition"))[1]
    if b"name" not in options:
        raise _malformed("expected Content-Disposition with a name in each part")
    file_name = options.get(b"filename")
    return _decode_name(options[b"name"]), None if file_name is None else _decode_name(file_name)


def _decode_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _malformed(text: str) -> Refusal:
    return Refusal(400, "malformed", text)
