"""Refuses folders of unlike kinds side by side: of splits, of whole sets, and of classes.

Each of them would become a class without a word. Pure functions of names.
"""

from __future__ import annotations

import re
from collections import Counter

from pawprint.runner.errors import LayoutError
from pawprint.sources.forms import bare, find_derived, is_derived, tells_form
from pawprint.sources.names import quote
from pawprint.sources.splits import find_counterparts, read_split_name
from pawprint.sources.suspects import UNLABELLED, is_view, stem_of_origin
from pawprint.sources.tree import (
    Folders,
    FoundFile,
    below,
    find_division,
    group,
    inner_names,
    where,
)

# Words that tell of a set, alone or among others; and those of what lies beside a set, or in it
_SET_WORDS = frozenset(
    {"data", "database", "dataset", "datasets", "testset", "trainset", "traindata", "testdata"}
)
_NO_CLASS = frozenset(
    {"all", "asset", "assets", "doc", "docs", "fig", "figs", "figure", "figures", "files"}
    | {"images", "imgs", "jpegimages", "media", "output", "outputs", "paper", "papers", "photos"}
    | {"pics", "pictures", "readme", "result", "results", "samples", "screenshots", "static"}
)
_BRANCH = re.compile(r".*[-_](main|master)", re.IGNORECASE)  # as archives of a repository have it
_WORD = re.compile(r"[^\W\d_]+")


def refuse_mixtures(folders: Folders, place: str) -> list[str]:
    """Refuses folders of splits, and of whole sets, where classes are expected; or warns of them.

    Returns:
        Lines for the user, where a folder that holds others may be a class as well.

    Raises:
        LayoutError: some are no classes; it names them and the way out.
    """
    if splits := find_counterparts(folders):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(splits)}, which differ only in "
            "the word of a split: move the pictures to train/CLASS, val/CLASS and test/CLASS, "
            "with the same classes in each and at least 2 in train; or, if they are classes, "
            "rename them without this word"
        )
    divided = [name for name in sorted(folders) if _holds_division(folders[name])]
    if divided:
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(divided)} with folders of splits "
            f"that have classes in them{_beside(folders, divided)}: {_choose(divided, folders)}"
        )
    if derived := _find_derived(folders):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(derived)}"
            f"{_beside(folders, derived)}, which seem to hold what is made from the others' "
            "pictures: move them elsewhere, or rename them if they are classes"
        )
    return [*_warn_of_forms(folders), *_warn_of_names(folders), *_warn_of_holders(folders, place)]


def _warn_of_names(folders: Folders) -> list[str]:
    """Says which folders are read as classes, though they are named as no class is."""
    named = [
        name
        for name in sorted(folders)
        if (found := read_split_name(name)) and not found.rest and name.casefold() != "valid"
    ]
    forms = all(map(tells_form, folders))  # of which there is a warning of its own
    sets = [
        name
        for name in sorted(folders)
        if _is_of_a_set(name)
        or bare(name) in UNLABELLED
        or (is_derived(name) and not forms and bare(name) != "thumb" and not _is_in(name, folders))
    ]
    return [
        f"warning: {name!r}{_beside(folders, named)}, is read as a class: if it is a split, move "
        "the pictures to train/CLASS and test/CLASS"
        for name in named
    ] + [
        f"warning: {name!r}{_beside(folders, sets)}, is read as a class: move it elsewhere if it "
        "is none"
        for name in sets
        if len(sets) < len(folders) and name not in named
    ]


def _find_derived(folders: Folders) -> list[str]:
    """The folders of what is made from the pictures of the others, sorted."""
    found = find_derived(folders)
    return sorted(
        name for name in folders if name in found or (is_derived(name) and _mirrors(name, folders))
    )


def _mirrors(name: str, folders: Folders) -> bool:
    """Whether each file of a folder has the name of one of the others, in just one folder.

    Nothing is told by numbers of two folders, nor by `mask` beside `no_mask`.
    """
    stems = {stem_of_origin(_stem(file)) for file in folders[name]}
    others = {other: files for other, files in folders.items() if other != name}
    if _is_in(name, others):
        return False
    if len(others) == 1 and all(re.fullmatch(r"\D?\d+", stem) for stem in stems):
        return False
    places = Counter(stem for files in others.values() for stem in {_stem(file) for file in files})
    return all(places[stem] == 1 for stem in stems)


def _is_in(name: str, folders: Folders) -> bool:
    """Whether a name is a word of another one: `mask` beside `no_mask`."""
    return any(bare(name) in map(bare, _WORD.findall(other)) for other in folders if other != name)


def _stem(file: FoundFile) -> str:
    return file.parts[-1].rpartition(".")[0]


def _warn_of_forms(folders: Folders) -> list[str]:
    if thumbs := [name for name in sorted(folders) if bare(name) == "thumb"]:
        found = f"warning: {quote(thumbs)}{_beside(folders, thumbs)}, is read as a class"
        return [f"{found}: remove it if it has small copies of the pictures"]
    if not all(map(tells_form, folders)) or not any(map(is_derived, folders)):
        return []
    return [
        f"warning: {quote(sorted(folders))} are read as classes: if they are forms of the same "
        "pictures, use one alone, as -S data.folder=ONE_OF_THEM"
    ]


def _holds_division(files: list[FoundFile]) -> bool:
    inner = below(files)
    if not (division := find_division(inner)):
        return False
    classes = set[str]().union(*(inner_names(inner[name]) for name in division))
    return not classes or not all(map(is_view, classes))  # cat/train/2019 is of a class


def _warn_of_holders(folders: Folders, place: str) -> list[str]:
    """Refuses a set beside what is none, if a name tells; else says how it is read."""
    holders = [name for name in sorted(folders) if _holds_folders(folders[name])]
    telling = [name for name in folders if _is_of_a_set(name)]
    if len(holders) < len(folders):
        telling += [name for name in folders if read_split_name(name)]
    flat = [name for name in folders if not group(folders[name])[1]]
    if not holders or not (flat or telling):
        return []
    inner = sorted(below(folders[holders[0]]))
    found = f"{quote(holders)} with folders in them ({quote(inner)}){_beside(folders, holders)}"
    choice = _choose(holders, folders)
    if telling:
        raise LayoutError(
            f"{place}: expected folders of classes, found {found}: {choice}, or rename them if "
            "they are classes"
        )
    return [
        f"warning: found {found}; each of the outer folders is read as a class; if the inner ones "
        f"are the classes, {choice}"
    ]


def _holds_folders(files: list[FoundFile]) -> bool:
    """Whether it has no picture itself, but folders that may be of classes."""
    names = [name for name in below(files) if not (is_view(name) or read_split_name(name))]
    return len(names) > 1


def _is_of_a_set(name: str) -> bool:
    """Whether a name has the word of a set, or is that of what lies beside one."""
    words = set(_WORD.findall(name.lower()))
    return (
        bool(words & _SET_WORDS)
        or set() < words <= _NO_CLASS
        or _BRANCH.fullmatch(name) is not None
    )


def _beside(folders: Folders, names: list[str]) -> str:
    others = sorted(folders.keys() - set(names))
    return f", beside {quote(others)}" if others else ""


def _choose(names: list[str], folders: Folders) -> str:
    which = "ONE_OF_THEM" if len(names) > 1 else f".../{where(folders[names[0]])[:80]}"
    return f"use -S data.folder={which}"
