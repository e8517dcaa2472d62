"""Pictures in folders, and what can be told of a folder by its place. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from sys import intern

from pawprint.sources.prefixes import find_no_classes, find_no_classes_of, read_prefix
from pawprint.sources.splits import read_split_name

Label = tuple[int, str, str, str]  # index, split, class name, file name
Digest = Callable[[int], bytes]  # of the bytes of the file at an index


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A picture whose first `depth` folders have been stepped into.

    Attributes:
        index: its position in the list of all files.
        parts: its path.
        depth: number of parts that have been stepped into.
        size: in bytes; 0: not known.
    """

    index: int
    parts: tuple[str, ...]
    depth: int = 0
    size: int = 0


Folders = dict[str, list[FoundFile]]


def group(files: Iterable[FoundFile]) -> tuple[list[FoundFile], Folders]:
    """The files that lie here, and those of each folder, stepped into that folder."""
    own = []
    folders = defaultdict(list)
    for file in files:
        if len(file.parts) == file.depth + 1:
            own.append(file)
        else:
            inner = FoundFile(file.index, file.parts, file.depth + 1, file.size)
            folders[file.parts[file.depth]].append(inner)
    return own, dict(folders)


def where(files: list[FoundFile]) -> str:
    """The path of the folder that these have been stepped into."""
    return "/".join(files[0].parts[: files[0].depth])


def names_of(files: list[FoundFile]) -> list[str]:
    """The names of files, without their folders."""
    return [file.parts[-1] for file in files]


def label_by_folder(folders: Folders, split: str) -> list[Label]:
    """Labels all below a folder by its name."""
    return [
        (file.index, split, class_name, "__".join(file.parts[file.depth :]))
        for class_name, files in folders.items()
        for file in files
    ]


def label_by_prefix(files: list[FoundFile], split: str, minimum: int = 2) -> list[Label]:
    """Labels `cat.0.jpg` as cat; nothing, unless all are so named, of `minimum` or more classes."""
    labels = []
    for file in files:
        class_name = read_prefix(file.parts[-1])
        if not class_name:
            return []
        labels.append((file.index, split, intern(class_name), file.parts[-1]))
    found = {class_name for _, _, class_name, _ in labels}
    unclear = find_no_classes(found) if minimum < 2 else find_no_classes_of(names_of(files))
    return labels if len(found) >= minimum and not unclear else []


def inner_names(files: list[FoundFile]) -> set[str]:
    """The folders within, below wrappers; the last wrapper, if there are no others."""
    names: set[str] = set()
    own, folders = group(files)
    while folders:
        names = set(folders)
        if len(folders) > 1 or own:
            break
        (files,) = folders.values()
        own, folders = group(files)
    return names


def below(files: list[FoundFile]) -> Folders:
    """The folders within, below wrappers."""
    own, folders = group(files)
    while len(folders) == 1 and not own:
        (files,) = folders.values()
        own, folders = group(files)
    return folders


def has_classes(files: list[FoundFile], minimum: int) -> bool:
    """Whether there are as many folders of classes, or prefixes of classes, within."""
    if len(inner_names(files)) >= minimum:
        return True
    own, folders = group(files)
    while len(folders) == 1 and not own:
        (files,) = folders.values()
        own, folders = group(files)
    return bool(label_by_prefix(own, "", minimum))


def find_division(folders: Folders) -> dict[str, str]:
    """folder → split, of those that divide a set; empty, if none do.

    One that means train and has classes must stand beside one that means val or test: in the same
    words (`cars_train`, `cars_test`), or with the same classes in it.
    """
    named = {name: found for name in folders if (found := read_split_name(name))}
    trains = [
        name
        for name, found in named.items()
        if found.split == "train" and has_classes(folders[name], 2)
    ]
    for train in sorted(trains, key=lambda name: (len(named[name].rest), name)):
        classes = inner_names(folders[train])
        division = {
            name: found.split
            for name, found in named.items()
            if found.rest == named[train].rest
            or (found.split != "train" and set() < inner_names(folders[name]) <= classes)
            or (name in trains and len(inner_names(folders[name]) & classes) > 1)
        }
        if len(set(division.values())) > 1:
            return division
    return {}


def is_copy(
    files: list[FoundFile], others: Iterable[FoundFile], digest: Digest | None = None
) -> bool:
    """Whether each file is among the others too, by its name, its folder, its size and `digest`."""
    wanted = Counter((file.parts[-2:], file.size) for file in files)
    same = [file for file in others if (file.parts[-2:], file.size) in wanted]
    if not wanted <= Counter((file.parts[-2:], file.size) for file in same):
        return False
    if digest is None:
        return True
    return _count_contents(files, digest) <= _count_contents(same, digest)


def _count_contents(files: list[FoundFile], digest: Digest) -> Counter[tuple[object, ...]]:
    return Counter((file.parts[-2:], digest(file.index)) for file in files)


def find_copied(name: str, folders: Folders) -> tuple[list[FoundFile], Folders] | None:
    """The folders beside one that it holds once more, with its own files that stand for them.

    It looks at that folder alone, since there may be very many of them.
    """
    files = folders[name]
    inner = group(files)[1]
    while len(inner) == 1:
        (files,) = inner.values()
        inner = group(files)[1]
    if len(inner) < 2:
        return None
    division = find_division(inner)
    if division and read_split_name(name):
        return None  # a division within train
    shared = [other for other in inner if other in folders and other != name]
    if len(shared) >= 2 and len(shared) in (len(inner), len(folders) - 1):
        return files, {other: folders[other] for other in shared}
    trained = [file for part, split in division.items() if split == "train" for file in inner[part]]
    names = inner_names(trained) if trained else set()
    if len(names) >= 2 and all(other in folders and other != name for other in names):
        return trained, {other: folders[other] for other in names}
    return None


def find_twins(folders: Folders, digest: Digest | None) -> list[str]:
    """Folders that hold what another one of their name holds: plantvillage beside PlantVillage."""
    spellings = defaultdict(list)
    for name in sorted(folders):
        spellings[name.casefold()].append(name)
    return [
        twin
        for first, *others in spellings.values()
        for twin in others
        if len(inner_names(folders[twin])) > 1 and is_copy(folders[twin], folders[first], digest)
    ]
