"""Tells classes that files' names begin with, as `cat.0.jpg`, from what cameras put there.

Pure functions of names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from pawprint.sources.forms import is_derived, tells_form
from pawprint.sources.splits import find_counterparts

_PREFIXED = re.compile(r"(?P<class_name>.+)\.\d+\.[^.]+")
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_DATE = re.compile(
    r"(?<!\d)(19|20)\d\d([-_. ]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d{1,2}(?!\d))"
)
_DAY = re.compile(r".*[^\w.](0[1-9]|[12]\d|3[01])[.](0[1-9]|1[0-2])[.][^.]+")  # trip 04.03.jpg
_PANASONIC = re.compile(r"P\d{7}")
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
    *("bild", "burst", "cam", "camera", "capture", "clip", "dji", "file", "frame", "page", "pano"),
    *("patient", "scan", "screenshot", "seq", "sequence", "shot", "slide", "snapshot", "still"),
    *("tile", "untitled", "vid", "video", "whatsapp"),
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

    They are a camera's, numbers, or have a date; or all of them only say that they are pictures, or
    in which form; or they are equal but for numbers behind a dot, or for the word of a split.

    >>> find_no_classes({"cat", "IMG.2024"}), find_no_classes({"photo", "image"})
    (['IMG.2024'], ['image', 'photo'])
    >>> find_no_classes({"cat.2023", "cat.2024", "dog"}), find_no_classes({"photo", "sketch"})
    (['cat.2023', 'cat.2024'], [])
    """
    if all((words := set(_words(name))) and words <= _PICTURES for name in prefixes):
        return sorted(prefixes)
    if any(map(is_derived, prefixes)) and all(map(tells_form, prefixes)):
        return sorted(prefixes)
    stems = {name: _stem(name) for name in prefixes}
    shared = Counter(stems.values())
    found = {name for name in prefixes if _is_of_a_camera(name) or shared[stems[name]] > 1}
    return sorted(found.union(find_counterparts(prefixes)))


def find_no_classes_of(files: Iterable[str]) -> list[str]:
    """Those prefixes of a whole set's files that are no classes, sorted.

    If those of `find_no_classes` are none: all of them, where most of three or more stand before
    one number only, or where each number may be a month behind its day.

    >>> find_no_classes_of(["KA.AN1.39.tiff", "KA.AN1.40.tiff", "KA.HA2.4.tiff", "KA.SA1.9.tiff"])
    ['KA.AN1', 'KA.HA2', 'KA.SA1']
    >>> find_no_classes_of(["trip 04.03.jpg", "trip 05.03.jpg"])
    ['trip 04', 'trip 05']
    >>> find_no_classes_of(["cat.0.jpg", "dog.1.jpg"])
    []
    """
    files = list(files)
    counts = Counter(map(read_prefix, files))
    alone = sum(number == 1 for number in counts.values())
    each_its_own = len(files) > 3 and len(counts) > 2 and 2 * alone > len(counts)
    return find_no_classes(counts) or (
        sorted(counts) if each_its_own or all(map(_DAY.fullmatch, files)) else []
    )


def _words(name: str) -> list[str]:
    return _TOKEN.findall(name.lower())


def _stem(name: str) -> str:
    """A prefix without the parts behind a dot that are numbers: of `cat.2024.1` it is `cat`."""
    first, *parts = name.split(".")
    while parts and _NUMBERS.fullmatch(parts[-1]):
        parts.pop()
    return ".".join([first, *parts])


def _is_of_a_camera(name: str) -> bool:
    if _PANASONIC.fullmatch(name):
        return True
    words = set(_words(name))
    letters = {word for word in words if not word.isdecimal()}
    numbered = words > letters
    if _DATE.search(name) or (numbered and not letters):
        return True
    named = letters & _CAMERAS or (numbered and letters & _WITH_A_NUMBER)
    return bool(named) and letters <= _CAMERAS | _WITH_A_NUMBER | _BESIDE
