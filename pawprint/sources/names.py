"""What the name of a file tells without a look into it. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from sys import intern

from pawprint.runner.errors import SourceError

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
# Cameras' raw files begin as a TIFF does, but hold a small copy of the picture only
RAW_SUFFIXES = frozenset({".arw", ".cr2", ".dng", ".nef", ".nrw", ".orf", ".pef", ".rw2", ".srw"})
# What systems put beside people's files; names that begin with a dot need no mention
HIDDEN_NAMES = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini"}
    | {"$recycle.bin", "system volume information", "lost+found"}
    | {"lost.dir", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "@__thumb", "@transcode"}
    | {"#snapshot", "~snapshot", "@tmp", "__pycache__", "_vti_cnf", "temporary items"}
    | {"network trash folder", "thevolumesettingsfolder", "ipod photo cache"}
)
_HIDDEN_IN_CAPITALS = frozenset({"RECYCLER", "RECYCLED"})  # in small letters: classes of waste
# What many pictures may be in that nobody has unpacked
_ARCHIVE = re.compile(r".+\.(7z|bz2|gz|rar|tar|tbz2?|tgz|txz|xz|zip|zst)", re.IGNORECASE)
_HIDDEN_FORM = re.compile(  # of a repaired disk, of programs that keep a library of pictures
    r"found\.\d{3}|.*\.(lrdata|lrcat-data|(migrated)?(photos?library|aplibrary))"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CLAIM = re.compile(  # a.jpg, a.jpg?w=200, a.jpg.1
    rf".+?({'|'.join(map(re.escape, sorted(PICTURE_SUFFIXES)))})(?:[?&#].*|\.\d+|~)?",
    re.DOTALL | re.IGNORECASE,
)


def split_name(name: str, place: str) -> tuple[str, ...]:
    """The parts of a relative path, in NFC and without control characters.

    Raises:
        SourceError: the name is absolute, climbs with `..` or is not Unicode.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{place}: the file name {name!a} is not valid Unicode: rename the file"
        ) from error
    path = _CONTROL.sub("_", unicodedata.normalize("NFC", name)).replace("\\", "/")
    *folders, file = [part for part in path.split("/") if part not in ("", ".")] or [""]
    parts = (*map(intern, folders), file)  # each folder's name is kept once
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", path) or not file:
        raise SourceError(
            f"{place}: refused because of the unsafe name {name!r}: "
            "expected only relative names without '..'; pack the pictures anew"
        )
    return parts


def is_hidden(parts: Sequence[str]) -> bool:
    """Whether a system, not a person, put it there: by a part of its path."""
    return any(_is_of_a_system(part) for part in parts)


def visible(parts: Sequence[str]) -> tuple[str, ...]:
    """The folders of a path, up to the first that a system put there.

    >>> visible(("x", "dog", ".DS_Store")), visible(("x", "@eaDir", "dog", "1.jpg"))
    (('x', 'dog'), ('x',))
    """
    return tuple(takewhile(lambda part: not _is_of_a_system(part), parts[:-1]))


def hiding_folder(parts: Sequence[str]) -> str:
    """The first folder of a path that a system put there; empty, if there is none."""
    return next(filter(_is_of_a_system, parts[:-1]), "")


def is_archive_name(file: str) -> bool:
    """Whether a file's name says that it is an archive.

    >>> [is_archive_name(name) for name in ("bird.zip", "birds.tar.gz", "bird.jpg", "zip")]
    [True, True, False, False]
    """
    return _ARCHIVE.fullmatch(file) is not None


def _is_of_a_system(part: str) -> bool:
    name = part.casefold()
    listed = name in HIDDEN_NAMES or part in _HIDDEN_IN_CAPITALS
    return part.startswith(".") or listed or bool(_HIDDEN_FORM.fullmatch(name))


def claims_picture(file: str) -> bool:
    """Whether a file's name says that it is a picture.

    >>> [claims_picture(name) for name in ("a.JPG", "a.jpg?w=200", "a.jpg.1", "a", "a.jpg.txt")]
    [True, True, True, False, False]
    """
    return _CLAIM.fullmatch(file) is not None


def quote(names: Sequence[str], limit: int = 5) -> str:
    """Names for a message, the first few of them."""
    shown = ", ".join(repr(name[:80]) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
