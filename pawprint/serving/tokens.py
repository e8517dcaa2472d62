"""JSON's tokens, counted before anything is made of them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from pawprint.serving.limits import Refusal

MAX_LEVELS = 3  # an object, its list, an object of that
TOKENS_OF_PICTURE, OTHER_TOKENS = 16, 64  # a picture with its name has 10, the comma included
MAX_TOKEN_BYTES = 64  # of keys, numbers and words
WINDOW_BYTES = 65536  # looked at in one go; other threads wait meanwhile
TOKEN = re.compile(rb'[{}\[\],:"]|[ \t\r\n]++|[^{}\[\],:" \t\r\n]++')
STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_json(body: bytes, max_pictures: int) -> None:
    """Refuse JSON that holds more than so many pictures need, at the first token too many.

    Whether it is JSON is for its parser to say, which stops at the first fault: it comes no
    further than what was counted here.

    Raises:
        Refusal: it has too many items, tokens or levels, a long number, or a key twice.
    """
    if body.startswith(BYTE_ORDER_MARKS) or b"\0" in body[:4]:
        raise _malformed("expected JSON in UTF-8, without a byte order mark")
    levels: list[set[bytes] | None] = []  # around a token: the keys of an object, None for a list
    items, last = 1, b""
    for number, token in enumerate(_tokens(body)):
        if number == TOKENS_OF_PICTURE * max_pictures + OTHER_TOKENS:
            raise _malformed(f"expected no more than {max_pictures} pictures need, found more")
        if token in (b"{", b"["):
            levels.append(set() if token == b"{" else None)
            if len(levels) > MAX_LEVELS:
                raise _malformed(f"expected at most {MAX_LEVELS} levels of brackets, found more")
        elif token in (b"}", b"]"):
            if not levels:
                return
            levels.pop()
        elif token == b":":
            _add_key(last, levels[-1] if levels else None)
        elif token == b"," and levels and levels[-1] is None:
            items += 1
            if items > max_pictures:
                raise Refusal(413, "files", f"expected at most {max_pictures} pictures")
        elif len(token) > MAX_TOKEN_BYTES and not token.startswith(b'"'):
            raise _malformed(f"expected numbers of at most {MAX_TOKEN_BYTES} digits, found more")
        last = token


def _add_key(key: bytes, keys: set[bytes] | None) -> None:
    if keys is None:
        return
    if len(key) > MAX_TOKEN_BYTES or b"\\" in key:
        raise _malformed("expected known keys, found one that is long or has a backslash")
    if key in keys:
        raise _malformed("expected each key once, found one twice in an object")
    keys.add(key)


def _tokens(body: bytes) -> Iterator[bytes]:
    """Brackets, commas, colons, strings and words; of a long string only its beginning."""
    place = 0
    while place < len(body):
        found = TOKEN.match(body, place, place + WINDOW_BYTES)
        assert found is not None  # each byte begins a token
        start, place = found.span()
        if body[start] == ord('"'):
            place = _end_of_string(body, place)
            yield body[start : min(place, start + MAX_TOKEN_BYTES + 1)]
        elif body[start] not in b" \t\r\n":
            yield found[0]


def _end_of_string(body: bytes, place: int) -> int:
    """Behind the quotation mark that ends the string at a place, or at the end of the body."""
    while place < len(body):
        found = STRING_REST.match(body, place, place + WINDOW_BYTES)
        assert found is not None  # it may be empty
        place = found.end()
        if body.startswith(b'"', place):
            return place + 1
        if place == len(body) - 1:  # a backslash before nothing
            break
    return len(body)


def _malformed(text: str) -> Refusal:
    return Refusal(422, "malformed", text)
