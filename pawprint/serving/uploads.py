"""Pictures out of a request's body: files of a form, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pawprint.runner.errors import one_line
from pawprint.serving.forms import read_parts
from pawprint.serving.limits import Refusal
from pawprint.serving.tokens import check_json

FILES = "files"  # the form's field
MAX_FIELDS, MAX_FIELD_BYTES = 8, 10_000  # beside the files
MAX_NAME = 255  # characters of a file's name
MAX_DATA_URL_HEAD = 1000
ALPHABET, WHITE_SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v"

Top = Annotated[int, Field(ge=1, le=1000, description="how many classes, the most probable first")]


class JsonPicture(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, max_length=MAX_NAME, description="handed back")
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


def read_form(content_type: str, body: bytes, max_pictures: int) -> Uploads:
    """Read a form with files in its field ``files``, and perhaps a number in its field ``top``.

    Args:
        content_type: the header, which tells the form's boundary.
        body: the form.
        max_pictures: files, of whatever field; reading stops at the first one too many.

    Raises:
        Refusal: it is not such a form.
    """
    files: list[Upload] = []
    tops: list[bytes] = []
    number_of_files = number_of_fields = 0
    for part in read_parts(content_type, body):
        if part.file_name is None:
            number_of_fields += 1
            if number_of_fields > MAX_FIELDS or len(part.content) > MAX_FIELD_BYTES:
                text = f"{MAX_FIELDS} fields of {MAX_FIELD_BYTES} bytes beside the files"
                raise Refusal(413, "fields", f"expected at most {text}")
            if part.field == "top":
                tops.append(part.content)
            continue
        number_of_files += 1
        if number_of_files > max_pictures:
            raise Refusal(413, "files", f"expected at most {max_pictures} pictures")
        if len(part.file_name) > MAX_NAME:
            raise _malformed(f"filename: expected at most {MAX_NAME} characters")
        if part.field == FILES:
            files.append(Upload(part.file_name or None, part.content))
    if not files:
        text = f"expected files, with their filename, in the form's field {FILES!r}; found none"
        raise _malformed(text)
    return Uploads(files, _read_top(tops or [b"5"]))


def _read_top(values: list[bytes]) -> int:
    (text,) = values if len(values) == 1 else [b""]
    if not (text.isdigit() and len(text) < 5 and 1 <= int(text) <= 1000):
        raise _malformed("top: expected a whole number from 1 to 1000, once")
    return int(text)


def read_json(body: bytes, max_pictures: int) -> Uploads:
    """Read a ``JsonPictures``, in time linear in its size.

    Raises:
        Refusal: it is not one, or has more pictures than it may.
    """
    check_json(body, max_pictures)
    try:
        content = JsonPictures.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _malformed(describe(first)) from None
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
    return one_line(f"{place}: {error['msg']}" if place else error["msg"])


def _malformed(text: str) -> Refusal:
    return Refusal(422, "malformed", text)
