"""Pictures out of a request's body: files of a form, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pawprint.runner.errors import one_line
from pawprint.serving.limits import Refusal

FILES = "files"  # the form's field
MAX_FIELDS = 8
MAX_DATA_URL_HEAD = 1000
ALPHABET, WHITE_SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v"

Top = Annotated[int, Field(ge=1, le=1000, description="how many classes, the most probable first")]


class JsonPicture(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, max_length=255, description="handed back")
    content: str = Field(description="the file's bytes in base64, or a data URL of them")


class JsonPictures(BaseModel):
    """The body of a request in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: list[JsonPicture] = Field(min_length=1)
    top: Top = 5


@dataclass(frozen=True)
class Upload:
    """A file of a request.

    Attributes:
        name: as the client said, if it did.
        content: its bytes; None where the client's encoding of them is wrong.
    """

    name: str | None
    content: bytes | None


@dataclass(frozen=True)
class Uploads:
    files: list[Upload]
    top: int


class _MemoryParser(MultiPartParser):
    # The body is in memory already, and its size is limited; see tests/test_private_sides.py
    spool_max_size = sys.maxsize


async def read_form(headers: Headers, body: bytes, max_files: int) -> Uploads:
    """Read a form with files in its field ``files``, and perhaps a number in its field ``top``.

    Raises:
        Refusal: it is not such a form.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    _check_charset(headers)
    parser = _MemoryParser(headers, stream(), max_files=max_files, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:  # see tests/test_private_sides.py
            raise Refusal(413, "files", f"expected at most {max_files} pictures") from None
        raise Refusal(400, "malformed", one_line(error.message)) from None
    files = [
        Upload(file.filename or None, await file.read())
        for file in form.getlist(FILES)
        if isinstance(file, UploadFile)
    ]
    await form.close()
    if not files:
        raise Refusal(422, "malformed", f"expected files in the form's field {FILES!r}, found none")
    return Uploads(files, _read_top(form.get("top", "5")))


def _check_charset(headers: Headers) -> None:
    """Others than UTF-8 fail in their own ways, and give names that no answer can hold."""
    charset = parse_options_header(headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.lower() not in (b"utf-8", b"utf8"):
        raise Refusal(400, "malformed", "charset: expected utf-8, or none, in Content-Type")


def _read_top(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= 1000):
        raise Refusal(422, "malformed", "top: expected a whole number from 1 to 1000")
    return int(text)


def read_json(body: bytes) -> Uploads:
    """Read a ``JsonPictures``.

    Raises:
        Refusal: it is not one.
    """
    try:
        content = JsonPictures.model_validate_json(body)
    except ValidationError as error:
        raise Refusal(422, "malformed", describe(error.errors(include_url=False)[0])) from None
    return Uploads(
        [Upload(image.name, _decode(image.content)) for image in content.images], content.top
    )


def _decode(text: str) -> bytes | None:
    """A file's bytes from base64 as programs write it; None if it is none.

    That is either alphabet (RFC 4648, sections 4 and 5), with or without padding, with line breaks
    or other white space, and as a data URL.
    """
    start = text[:MAX_DATA_URL_HEAD].lstrip()
    if start[:5].lower() == "data:":
        head, comma, _ = start.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            return None
        text = text[text.index(",") + 1 :]
    try:
        digits = text.encode("ascii").translate(ALPHABET, WHITE_SPACE)
        padded = digits if digits.endswith(b"=") else digits + b"=" * (-len(digits) % 4)
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        return None


def describe(error: Any) -> str:
    """One of pydantic's errors in one line, without what was found: it may be a picture."""
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])
