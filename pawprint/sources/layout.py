"""Reads classes, and a division into train, val and test, out of file names. Pure functions.

Four layouts are understood, below any number of wrapper directories:
  1. class folders            PetImages/Cat/1.jpg
  2. divided class folders    data/train/cat/1.jpg, data/validation/cat/2.jpg, data/test/cat/3.jpg
  3. class folders, divided   cat/train/1.jpg, cat/test/2.jpg, dog/train/3.jpg
  4. class prefixes           train/cat.0.jpg: every picture of the directory is so named

All names are normalised to Unicode NFC, because macOS stores the same name in another form, and
control characters, such as a line break, become underscores. Upper and lower case differ, but two
classes that differ in nothing else are refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from pawprint.registry.file_kinds import FileKind
from pawprint.runner.errors import LayoutError, SourceError
from pawprint.sources.labels import LabelReader
from pawprint.sources.names import (
    RAW_SUFFIXES,
    claims_picture,
    hiding_folder,
    is_archive_name,
    is_hidden,
    quote,
    split_name,
    visible,
)
from pawprint.sources.prefixes import find_no_classes_of, read_prefix
from pawprint.sources.suspects import refuse_alike, refuse_mask_files
from pawprint.sources.tree import Digest, FoundFile

MAX_PATH_BYTES = 65_535  # of the zip format
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
    """All labelled pictures in the order of their paths, the others' number by reason, and notes.

    A note is a line about what was set aside, or taken in a way that is not the only one.
    """

    pictures: list[LabelledFile]
    ignored: dict[str, int]
    notes: list[str]


def read_layout(
    names: Sequence[str],
    place: str,
    *,
    kinds: Mapping[int, FileKind] | None = None,
    sizes: Sequence[int] = (),
    digest: Digest | None = None,
    left_out: Mapping[str, int] | None = None,
    links: Sequence[str] = (),
    folders: Sequence[str] = (),
) -> Layout:
    """Finds the class and the split of every picture among `names`.

    Args:
        names: relative paths of files, separated by slashes or backslashes; repeats are allowed.
        place: what the names belong to, for messages.
        kinds: position → kind of files whose names do not say that they are pictures: one that is
            a picture by its bytes counts as such.
        sizes: of all files in bytes, by which copies are told apart; empty: by their names alone.
        digest: of the bytes of the file at a position, read where names and sizes are alike.
        left_out: reason → number of files that are not among `names`, for messages.
        links: those of them that are links which are not followed.
        folders: paths of folders, of which those without a file are told.

    Returns:
        The labelled pictures, how many names were ignored as `hidden` (also __MACOSX and
        Thumbs.db), `not a picture`, `unlabelled` or in a folder that is set aside, and the notes. A
        division that only names train is no division: its split is empty.

    Raises:
        LayoutError: fewer than 2 classes, none of the layouts, two that fit, two classes of nearly
            one name, two pictures of one path, or a path too long for a zip.
        SourceError: a name is absolute, climbs with `..` or is not Unicode.
    """
    files = []
    others: list[tuple[tuple[str, ...], str]] = []  # folder, why something in it is left out
    unread = []
    ignored: Counter[str] = Counter()
    for index, name in enumerate(names):
        parts = split_name(name, place)
        reason = _ignored_reason(parts, (kinds or {}).get(index))
        if reason:
            ignored[reason] += 1
            unread.append(parts)
            others.append((visible(parts), reason))
        else:
            files.append(FoundFile(index, parts, 0, sizes[index] if sizes else 0))
    others += [(split_name(name, place)[:-1], "symbolic link") for name in links]
    others += [(folder, "") for folder in _visible_folders(folders, place)]
    reader = LabelReader(place, digest)
    labels = reader.read(files)
    pictures = sorted((LabelledFile(*label) for label in labels), key=lambda picture: picture.path)
    if len({picture.class_name for picture in pictures}) < 2:
        found = _describe(names, files, ignored + Counter(left_out or {}))
        if empty := _name_empty(files, others):
            found += f"; empty folders: {quote(empty)}"
        if any(kind.role == "container" for kind in (kinds or {}).values()):
            found += "; unpack the archives among them"
        raise LayoutError(f"{place}: {EXPECTED}; found {found}")
    refuse_alike({picture.class_name for picture in pictures}, place)
    taken = {picture.index for picture in pictures}
    refuse_mask_files([file for file in files if file.index in taken], place)
    _refuse_repeats(pictures, names, place)
    _refuse_long_paths(pictures, names, place)
    for folder, number in reader.aside.items():
        ignored[f"in {folder!r}, which is set aside"] += number
    if unlabelled := len(files) - len(pictures) - sum(reader.aside.values()):
        ignored["unlabelled"] = unlabelled
    notes = [*reader.warnings, *_note_unread(unread), *reader.notes]
    notes += _note_folders_without_pictures(pictures, files, others)
    return Layout(pictures, dict(sorted(ignored.items())), notes)


def _ignored_reason(parts: Sequence[str], kind: FileKind | None) -> str:
    if is_hidden(parts):
        return "hidden"
    if claims_picture(parts[-1]):
        return ""
    if PurePosixPath(parts[-1]).suffix.lower() in RAW_SUFFIXES:
        return "not a picture (a camera's raw file: convert it to JPEG)"
    if kind is None:
        return "not a picture"
    return "" if kind.role == "picture" else f"not a picture ({kind.name})"


def _visible_folders(folders: Sequence[str], place: str) -> Iterator[tuple[str, ...]]:
    """The parts of each folder's path; an archive's own top, and what leads out of it, is none."""
    for folder in folders:
        with suppress(SourceError):
            yield visible((*split_name(folder, place), ""))


def _name_empty(
    files: Sequence[FoundFile], others: Sequence[tuple[tuple[str, ...], str]]
) -> list[str]:
    """The folders in which nothing is, not even a folder; sorted."""
    filled = {file.parts[:-1] for file in files} | {folder for folder, reason in others if reason}
    empty = {folder for folder, _ in others} - filled
    ordered = sorted("/".join((*folder, "")) for folder in filled | empty)
    last = {one for one, other in pairwise([*ordered, ""]) if not other.startswith(one)}
    return sorted("/".join(folder) for folder in empty if "/".join((*folder, "")) in last)


def _note_folders_without_pictures(
    pictures: Sequence[LabelledFile],
    files: Sequence[FoundFile],
    others: Sequence[tuple[tuple[str, ...], str]],
) -> list[str]:
    """Says which folders beside those of classes hold no picture."""
    parts_of = {file.index: file.parts for file in files}
    filled: dict[tuple[str, ...], set[str]] = {}  # where folders of classes are → those, and others
    for picture in pictures:
        parts = parts_of[picture.index][:-1]
        if picture.class_name in parts:  # not where a prefix names it
            filled[parts[: parts.index(picture.class_name)]] = set()
    depths = sorted({len(level) for level in filled})
    for file in files:
        for depth in depths:
            if depth < len(file.parts) - 1 and file.parts[:depth] in filled:
                filled[file.parts[:depth]].add(file.parts[depth])
    without: dict[str, Counter[str]] = defaultdict(Counter)
    for folder, reason in others:
        for depth in depths:
            beside = filled.get(folder[:depth])
            if depth < len(folder) and beside is not None and folder[depth] not in beside:
                without["/".join(folder[: depth + 1])] += Counter([reason] if reason else [])
                break
    return [
        f"no class: {folder!r} has "
        + (f"no picture, only {_enumerate(reasons)}" if reasons else "no file")
        for folder, reasons in sorted(without.items())
    ]


def _note_unread(paths: Iterable[Sequence[str]]) -> list[str]:
    """Names archives that nobody unpacked, and folders of systems that have pictures."""
    archives = []
    hiding: Counter[str] = Counter()
    for parts in paths:
        if claims_picture(parts[-1]) and not is_hidden(parts[-1:]):
            hiding[hiding_folder(parts)] += 1
        elif is_archive_name(parts[-1]) and not is_hidden(parts):
            archives.append("/".join(parts))
    del hiding[""]
    notes = []
    if archives:
        notes.append(f"not read: {quote(sorted(archives))}: unpack what has pictures of the set")
    if hiding:
        shown = ", ".join(f"{name!r} {number}" for name, number in hiding.most_common(5))
        more = f" and {len(hiding) - 5} more" if len(hiding) > 5 else ""
        notes.append(f"not read, since a system made the folder: {shown}{more} pictures")
    return notes


def _enumerate(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))


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


def _describe(names: Sequence[str], files: list[FoundFile], ignored: Counter[str]) -> str:
    examples = [names[file.index] for file in files] or list(names)
    misfits = [names[file.index] for file in files if not read_prefix(file.parts[-1])]
    found = ", ".join(filter(None, [f"{len(files)} pictures", _enumerate(ignored)]))
    if ignored["symbolic link"]:
        found += " (links are followed inside of the folder only: copy what they lead to)"
    if 0 < len(misfits) < len(files) / 2:
        return f"{found}; {len(misfits)} of them do not begin with a class: {quote(misfits)}"
    unclear = set(find_no_classes_of(file.parts[-1] for file in files))
    if unclear and not misfits:
        unnamed = [names[f.index] for f in files if read_prefix(f.parts[-1]) in unclear]
        return (
            f"{found}; {len(unnamed)} of them begin with a camera's name, a number or a date, "
            "with a form, a split, or a name of their own, instead of a class: "
            f"{quote(unnamed)}: put the pictures of each class in a folder"
        )
    return f"{found}; such as {quote(examples)}" if examples else f"{found}: no file at all"
