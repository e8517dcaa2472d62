"""Refuses folders that look like those of classes, but hold forms or parts of a set.

Such folders would give a wrong model without a word. Pure functions of names.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from pawprint.runner.errors import LayoutError
from pawprint.sources.forms import PLAIN, bare, is_derived, share_names, tells_form
from pawprint.sources.names import quote
from pawprint.sources.splits import read_split_name
from pawprint.sources.tree import Folders, FoundFile, below, inner_names, names_of

SIDES = frozenset(  # subfolders that people have in the folder of a class
    {"above", "back", "below", "bottom", "closeup", "day", "down", "evening", "far", "front"}
    | {"indoor", "inside", "left", "lower", "morning", "near", "night", "noon", "outdoor"}
    | {"outside", "rear", "right", "side", "top", "up", "upper"}
)
_MAY_BE_CLASSES = frozenset(  # forms, and what a picture may be
    {"color", "colored", "colour", "coloured", "gray", "grayscale", "greyscale", "original"}
    | {"overlay", "processed", "raw", "source", "target"}
)
UNLABELLED = frozenset({"unlabeled", "unlabelled", "unannotated", "untagged"})
COLLECTION = re.compile(  # fold1, site_b
    r"(batch|camera|cam|collection|cv|data|dataset|day|fold|group|part|round|scanner|session|set"
    r"|site|source|split|subset)[\W_]*(\d+|[a-z])"
)
_NUMBERED = re.compile(  # HAM10000_images_part_1, trainA
    r"(?P<before>.*(?<![a-z])|.*[a-z](?=[A-Z]))"
    r"(?i:batch|chunk|cv|data|dataset|fold|images?|imgs?|part|set|shard|split|subset|test|train|val)"
    r"(?:[\W_]*\d+|[\W_]+[A-Za-z]|[A-Z])"
)
_GOODS = re.compile(r"(?i:part|set)[\W_]*[1-9]\d{2,}")  # of a shop: part_3001
_NUMBER = re.compile(r"\d+(\s*[xX]\s*\d+)?(px)?")  # 3, 128x128
_DATE = re.compile(r"(19|20)\d\d([\W_]?\d\d?){0,2}")
_DERIVED_FILE = re.compile(
    r"(?P<stem>.+?)[ _.-]+(mask|seg|segmentation|gt|groundtruth|label|annotation)s?([\W_]*\d+)?",
    re.IGNORECASE,
)


def is_view(folder: str) -> bool:
    """Whether a folder is one that classes have in them: by date, camera or side."""
    return bool(
        bare(folder) in SIDES | PLAIN
        or _DATE.fullmatch(folder)
        or COLLECTION.fullmatch(folder.lower())
    )


def refuse_suspects(folders: Folders, place: str) -> None:
    """Refuses folders that are no classes, but hold all classes each, in a form or a part.

    Raises:
        LayoutError: they are such; it names them and the way out.
    """
    names = sorted(folders)
    alike = _common(inner_names(files) for files in folders.values())
    forms = all(map(tells_form, names)) and not _may_be_classes(folders)
    if any(map(is_derived, names)) and (len(alike) > 1 or forms):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(names)}, which seem to hold the "
            "same pictures in several forms: name one of them as the source, as -S "
            "data.folder=ONE_OF_THEM, or rename them if they are classes"
        )
    unlabelled = [name for name in names if bare(name) in UNLABELLED]
    if unlabelled and any(len(inner_names(folders[n])) > 1 for n in set(names) - set(unlabelled)):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(unlabelled)} beside "
            f"{quote(sorted(set(names) - set(unlabelled)))}, which have folders in them: use -S "
            "data.folder=ONE_OF_THEM, or rename them if they are classes"
        )
    numbered = _are_numbered(names)
    if repeated := _repeated_classes(folders, alike, numbered):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(names)}, each of which has the "
            f"folders {quote(sorted(repeated))}: put the pictures of each class in one folder, or "
            "use one alone, as -S data.folder=ONE_OF_THEM; if they are splits, rename them train "
            "and test; if the outer folders are the classes, put their pictures right into them"
        )
    if numbered and all(map(_NUMBERED.fullmatch, names)) and not all(map(_GOODS.fullmatch, names)):
        raise LayoutError(
            f"{place}: expected folders of classes, found {quote(names)}, which seem to be parts "
            "of one set: put the pictures in folders of their classes, use one part alone, as -S "
            "data.folder=ONE_OF_THEM, or rename the folders if they are classes"
        )


def _may_be_classes(folders: Folders) -> bool:
    """Whether names of forms, such as `color` and `gray`, are those of different pictures."""
    if not _MAY_BE_CLASSES.issuperset(map(bare, folders)):
        return False
    first, *others = map(names_of, folders.values())
    return not any(share_names(first, names) for names in others)


def _common(groups: Iterable[set[str]]) -> set[str]:
    """The one set that all are; empty, if they differ."""
    found = {frozenset(names) for names in groups}
    return set(next(iter(found))) if len(found) == 1 else set()


def _are_numbered(names: list[str]) -> bool:
    """Whether all names are of a collection, a number, or equal but for a number or a letter."""
    return (
        all(COLLECTION.fullmatch(name.lower()) for name in names)
        or all(_NUMBER.fullmatch(name) for name in names)
        or all(_NUMBERED.fullmatch(name) for name in names)
    )


def _repeated_classes(folders: Folders, alike: set[str], numbered: bool) -> set[str]:
    """What seem to be the classes, within each of the folders; empty, if these are the classes."""
    parts = numbered and not all(map(str.isdecimal, folders))  # numbers are classes as well
    splits = {name: found for name in alike if (found := read_split_name(name))}
    if len({found.split for found in splits.values()}) > 1:
        within = [below(files) for files in folders.values()]
        inner = [inner_names(files) for subs in within for n, files in subs.items() if n in splits]
        having = [names for names in inner if names]
        classes = set.intersection(*having) if having else set()
        if len(classes) > 1 and (parts or not all(map(is_view, classes))):
            return classes
        return alike if parts else set()
    if parts:  # some may lack classes
        shared = set.intersection(*(inner_names(files) for files in folders.values()))
        return shared if len(shared) > 1 else set()
    exempt = all(is_view(name) or is_derived(name) for name in alike)
    return alike if len(alike) > 1 and not exempt else set()


def refuse_alike(class_names: Iterable[str], place: str) -> None:
    """Refuses `Cat` beside `cat`, and `hot dog` beside `hot_dog`; letters, `A` and `a`, may differ.

    Raises:
        LayoutError: there are such classes.
    """
    spellings = defaultdict(list)
    for name in sorted(class_names):
        if len(name) > 1:
            spellings[_spelling(name)].append(name)
    alike = [names for names in spellings.values() if len(names) > 1]
    if alike:
        listed = "; ".join(quote(names) for names in alike[:3])
        more = f" and {len(alike) - 3} more such" if len(alike) > 3 else ""
        raise LayoutError(
            f"{place}: expected each class under one name, found {listed}{more}, which differ only "
            "in upper and lower case, in what stands between words, or in how a letter is encoded: "
            "put the pictures of a class in one folder; if they are two, rename one"
        )


def _spelling(name: str) -> str:
    """What is the same in all spellings of a name.

    >>> _spelling("Hot_Dog"), _spelling("hotdog"), _spelling("v1_1"), _spelling("v11")
    ('hotdog', 'hotdog', 'v1 1', 'v11')
    """
    plain = unicodedata.normalize("NFKC", name).lower()
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")  # without a width
    words = re.split(r"[\s_-]+", plain.strip(" _-"))
    return re.sub(r"(?<=[^\W\d_]{2}) (?=[^\W\d_]{2})", "", " ".join(words))


def stem_of_origin(stem: str) -> str:
    """The name of the picture that one is made from, as far as its own tells: `1` for `1_mask`."""
    match = _DERIVED_FILE.fullmatch(stem)
    return match["stem"] if match else stem


def refuse_mask_files(files: list[FoundFile], place: str) -> None:
    """Refuses `1_mask.png` beside `1.png`.

    Raises:
        LayoutError: there are such files.
    """
    found = []
    for file in files:
        stem = file.parts[-1].rpartition(".")[0]
        if (origin := stem_of_origin(stem)) != stem:
            found.append((file, origin))
    if not found:
        return
    stems = {(file.parts[:-1], file.parts[-1].rpartition(".")[0]) for file in files}
    twins = ["/".join(file.parts) for file, stem in found if (file.parts[:-1], stem) in stems]
    if twins:
        raise LayoutError(
            f"{place}: expected pictures of classes, found {len(twins)} files that seem to be made "
            f"from the picture of the same name beside them, such as {quote(twins, 2)}: move them "
            "elsewhere, or rename them if they are pictures too"
        )
