"""Tells classes that files' names begin with, as `cat.0.jpg`, from what cameras put there.

Pure functions of names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

_PREFIXED = re.compile(r"(?P<class_name>.+)\.\d+\.[^.]+")
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_DATE = re.compile(
    r"(?<!\d)(19|20)\d\d([-_. ]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d{1,2}(?!\d))"
)
_NUMBERS = re.compile(r"[\W_]*\d[\W\d_]*")
# What names of pictures begin with that nobody has named
_CAMERAS = frozenset(
    {"cimg", "dcim", "dsc", "dscf", "dscn", "gopr", "hpim", "imag", "img", "imgp", "kimg", "mvi"}
    | {"mvimg", "pict", "pxl"}
)
_PICTURES = frozenset(
    {"foto", "fotos", "image", "images", "imgs", "photo", "photos", "pic", "pics", "picture"}
    | {"pictures"}
)
_WITH_A_NUMBER = _PICTURES | {  # no classes with one, such as frame12
    *("bild", "burst", "cam", "camera", "capture", "dji", "file", "frame", "pano", "scan"),
    *("screenshot", "snapshot", "still", "untitled", "vid", "video", "whatsapp"),
}
_BESIDE = frozenset({"at", "copy", "e", "edited", "hdr", "mp", "on", "portrait", "wa"})


def read_prefix(file: str) -> str:
    """What stands before the number of a file's name; empty if it has none.

    >>> read_prefix("cat.0.jpg"), read_prefix("hot.dog.12.jpg"), read_prefix("holiday.jpg")
    ('cat', 'hot.dog', '')
    """
    match = _PREFIXED.fullmatch(file)
    return match["class_name"] if match else ""


def find_no_classes(prefixes: Collection[str]) -> list[str]:
    """Those of a set's prefixes that are no classes, sorted.

    They are a camera's, numbers, or have a date; or all of them only say that they are pictures; or
    they are equal but for numbers behind a dot.

    >>> find_no_classes({"cat", "IMG.2024"}), find_no_classes({"photo", "image"})
    (['IMG.2024'], ['image', 'photo'])
    >>> find_no_classes({"cat.2023", "cat.2024", "dog"}), find_no_classes({"photo", "sketch"})
    (['cat.2023', 'cat.2024'], [])
    """
    if all((words := set(_words(name))) and words <= _PICTURES for name in prefixes):
        return sorted(prefixes)
    stems = {name: _stem(name) for name in prefixes}
    shared = Counter(stems.values())
    return sorted(n for n in prefixes if _is_of_a_camera(n) or shared[stems[n]] > 1)


def _words(name: str) -> list[str]:
    return _TOKEN.findall(name.lower())


def _stem(name: str) -> str:
    """A prefix without the parts behind a dot that are numbers: of `cat.2024.1` it is `cat`."""
    first, *parts = name.split(".")
    while parts and _NUMBERS.fullmatch(parts[-1]):
        parts.pop()
    return ".".join([first, *parts])


def _is_of_a_camera(name: str) -> bool:
    words = set(_words(name))
    letters = {word for word in words if not word.isdecimal()}
    numbered = words > letters
    if _DATE.search(name) or (numbered and not letters):
        return True
    named = letters & _CAMERAS or (numbered and letters & _WITH_A_NUMBER)
    return bool(named) and letters <= _CAMERAS | _WITH_A_NUMBER | _BESIDE
