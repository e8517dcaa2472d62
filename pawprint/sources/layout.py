"""Reads classes, and a division into train, val and test, out of file names. Pure functions.

Three layouts are understood, below any number of wrapper directories:
  1. class folders            PetImages/Cat/1.jpg
  2. divided class folders    data/train/cat/1.jpg, data/validation/cat/2.jpg, data/test/cat/3.jpg
  3. class prefixes           train/cat.0.jpg: every picture of the directory is so named

All names are normalised to Unicode NFC, because macOS stores the same name in another form, and
control characters, such as a line break, become underscores. Upper and lower case differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from sys import intern

from pawprint.runner.errors import LayoutError, SourceError

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
SPLIT_NAMES = {
    name: split
    for split, names in {
        "train": "train training train_set training_set",
        "val": "val valid validation val_set valid_set validation_set",
        "test": "test testing test_set testing_set test1",  # test1: Kaggle's Dogs vs Cats
    }.items()
    for name in names.split()
}
HIDDEN_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
MAX_PATH_BYTES = 65_535  # of the zip format
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
PREFIXED = re.compile(r"(?P<class_name>.+)\.\d+\.[^.]+")
EXPECTED = (
    "expected at least 2 classes, as folders (cat/1.jpg, dog/1.jpg), as such folders within "
    "train, val and test, or as prefixes (cat.0.jpg, dog.0.jpg)"
)


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file of a source that is a labelled picture.

    Attributes:
        index: position of its name in the list that was given.
        split: train, val or test; empty where the source is not divided.
        class_name: NFC, without a slash.
        name: file name, NFC, unique in its split and class; the folders below the class folder
            are joined in front of it with two underscores, so that it has no slash.
    """

    index: int
    split: str
    class_name: str
    name: str

    @property
    def path(self) -> str:
        """`<class>/<name>`, or `<split>/<class>/<name>` where the source is divided."""
        return "/".join(part for part in (self.split, self.class_name, self.name) if part)


@dataclass(frozen=True)
class Layout:
    """All labelled pictures in the order of their paths, and the others' number by reason."""

    pictures: list[LabelledFile]
    ignored: dict[str, int]


@dataclass(frozen=True, slots=True)
class _File:
    """A file whose first `depth` folders have been stepped into."""

    index: int
    parts: tuple[str, ...]
    depth: int = 0


_Labels = list[tuple[int, str, str]]  # index, class name, file name


def read_layout(names: Sequence[str], place: str) -> Layout:
    """Finds the class and the split of every picture among `names`.

    Args:
        names: relative paths of files, separated by slashes or backslashes; repeats are allowed.
        place: what the names belong to, for messages.

    Returns:
        The labelled pictures, and how many names were ignored as `hidden` (also __MACOSX and
        Thumbs.db), `not a picture` (by suffix) or `unlabelled`. A division that only names train
        is no division: its split is empty.

    Raises:
        LayoutError: fewer than 2 classes, no layout of the three, two pictures of one path, or a
            path too long for a zip.
        SourceError: a name is absolute, climbs with `..` or is not Unicode.
    """
    files = []
    ignored: Counter[str] = Counter()
    for index, name in enumerate(names):
        parts = split_name(name, place)
        reason = ignored_reason(parts)
        if reason:
            ignored[reason] += 1
        else:
            files.append(_File(index, parts))
    pictures = sorted(_label_pictures(files, place), key=lambda picture: picture.path)
    if len({picture.class_name for picture in pictures}) < 2:
        raise LayoutError(f"{place}: {EXPECTED}; found {_describe(names, files, ignored)}")
    _refuse_repeats(pictures, names, place)
    _refuse_long_paths(pictures, names, place)
    if len(files) > len(pictures):
        ignored["unlabelled"] = len(files) - len(pictures)
    return Layout(pictures, dict(sorted(ignored.items())))


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
    path = CONTROL.sub("_", unicodedata.normalize("NFC", name)).replace("\\", "/")
    *folders, file = [part for part in path.split("/") if part not in ("", ".")] or [""]
    parts = (*map(intern, folders), file)  # each folder's name is kept once
    if path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", path) or not file:
        raise SourceError(
            f"{place}: refused because of the unsafe name {name!r}: "
            "expected only relative names without '..'; pack the pictures anew"
        )
    return parts


def ignored_reason(parts: Sequence[str]) -> str:
    """Why a file is ignored: `hidden`, `not a picture`, or empty for a picture."""
    if any(part.startswith(".") or part.casefold() in HIDDEN_NAMES for part in parts):
        return "hidden"
    if PurePosixPath(parts[-1]).suffix.lower() not in PICTURE_SUFFIXES:
        return "not a picture"
    return ""


def _label_pictures(files: list[_File], place: str) -> list[LabelledFile]:
    files = _below_wrappers(files)
    _, folders = _group(files)
    if len(folders) < 2 or any(name.casefold() not in SPLIT_NAMES for name in folders):
        return _pictures("", _label(files))
    divided = _label_splits(folders, place)
    labelled = {split: labels for split, labels in divided.items() if labels}
    if set(labelled) == {"train"}:
        return _pictures("", labelled["train"])
    return [picture for split, labels in labelled.items() for picture in _pictures(split, labels)]


def _pictures(split: str, labels: _Labels) -> list[LabelledFile]:
    return [LabelledFile(index, split, class_name, name) for index, class_name, name in labels]


def _label_splits(folders: dict[str, list[_File]], place: str) -> dict[str, _Labels]:
    by_split = {SPLIT_NAMES[name.casefold()]: files for name, files in folders.items()}
    if len(by_split) < len(folders) or "train" not in by_split:
        raise LayoutError(
            f"{place}: expected one folder train, and one val or test or both, "
            f"found the folders {_quote(sorted(folders))}: rename or remove some"
        )
    train = _label(by_split.pop("train"))
    if not train:
        return {}
    classes = {class_name for _, class_name, _ in train}
    others = {
        split: _label_like(files, classes, f"{place}: folder {split}")
        for split, files in by_split.items()
    }
    return {"train": train, **others}


def _label(files: list[_File]) -> _Labels:
    """Labels an undivided set by its class folders or, where there are none, by prefixes."""
    own, folders = _group(_below_wrappers(files))
    if len(folders) >= 2:
        return _label_by_folder(folders)
    return _label_by_prefix(own)


def _label_like(files: list[_File], classes: set[str], place: str) -> _Labels:
    """Labels val or test by the classes of train; what lies in no class folder stays unlabelled."""
    own, folders = _group(files)
    while len(folders) == 1 and not folders.keys() & classes:
        (files,) = folders.values()
        own, folders = _group(files)
    unknown = sorted(folders.keys() - classes)
    if unknown:
        raise LayoutError(
            f"{place}: expected only the classes of train ({_quote(sorted(classes))}), "
            f"found also {_quote(unknown)}: rename or remove these folders"
        )
    if folders:
        return _label_by_folder(folders)
    labels = _label_by_prefix(own, minimum=1)
    return labels if {class_name for _, class_name, _ in labels} <= classes else []


def _label_by_folder(folders: dict[str, list[_File]]) -> _Labels:
    return [
        (file.index, class_name, "__".join(file.parts[file.depth :]))
        for class_name, files in folders.items()
        for file in files
    ]


def _label_by_prefix(files: list[_File], minimum: int = 2) -> _Labels:
    """Labels `cat.0.jpg` as cat; nothing, unless all are so named, of `minimum` or more classes."""
    labels = []
    for file in files:
        match = PREFIXED.fullmatch(file.parts[-1])
        if not match:
            return []
        labels.append((file.index, intern(match["class_name"]), file.parts[-1]))
    return labels if len({class_name for _, class_name, _ in labels}) >= minimum else []


def _below_wrappers(files: list[_File]) -> list[_File]:
    """Steps into the only folder, as long as there is one and the files beside it have no label."""
    own, folders = _group(files)
    while len(folders) == 1 and not _label_by_prefix(own):
        (files,) = folders.values()
        own, folders = _group(files)
    return files


def _group(files: Iterable[_File]) -> tuple[list[_File], dict[str, list[_File]]]:
    """The files that lie here, and those of each folder, stepped into that folder."""
    own = []
    folders = defaultdict(list)
    for file in files:
        if len(file.parts) == file.depth + 1:
            own.append(file)
        else:
            folders[file.parts[file.depth]].append(_File(file.index, file.parts, file.depth + 1))
    return own, dict(folders)


def _refuse_repeats(pictures: list[LabelledFile], names: Sequence[str], place: str) -> None:
    for one, other in pairwise(pictures):
        if one.path == other.path:
            raise LayoutError(
                f"{place}: {names[one.index]!r} and {names[other.index]!r} would both be stored "
                f"as {one.path!r}: rename or remove one"
            )


def _refuse_long_paths(pictures: list[LabelledFile], names: Sequence[str], place: str) -> None:
    for picture in pictures:
        if len(picture.path.encode()) > MAX_PATH_BYTES:
            raise LayoutError(
                f"{place}: the path of a picture has more than {MAX_PATH_BYTES} bytes, which no "
                f"zip can hold: shorten the names of its folders; it begins with "
                f"{names[picture.index][:80]!r}"
            )


def _describe(names: Sequence[str], files: list[_File], ignored: Counter[str]) -> str:
    examples = [names[file.index] for file in files] or list(names)
    counts = [f"{len(files)} pictures", *(f"{n} {reason}" for reason, n in ignored.items())]
    found = ", ".join(counts)
    return f"{found}; such as {_quote(examples)}" if examples else f"{found}: no file at all"


def _quote(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
