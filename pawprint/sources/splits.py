"""Tells the folders of a division, such as ``train`` and ``test``, by their names. Pure functions.

A word counts where it stands for itself, in any case, also with what people write around it:
``Train-Set``, ``test_images``, ``seg_train``, ``val2017``. A word that is part of another one does
not: ``contest``, ``strain`` and ``device`` are names of classes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

WORDS = {
    word: split
    for split, words in {
        "train": "train training trainings",
        "val": "val valid validation validating validate dev development",
        "test": "test testing tests eval evaluation holdout",
    }.items()
    for word in words.split()
}
# Of names, words that say nothing of what is in a folder
AROUND = frozenset(
    {"a", "all", "data", "database", "dataset", "datasets", "dir", "ds", "file", "files", "final"}
    | {"folder", "folders", "full", "image", "images", "img", "imgs", "jpeg", "jpg"}
    | {"labeled", "labelled", "my", "new", "of", "orig", "original", "part", "phase"}
    | {"photo", "photos", "pic", "pics", "picture", "pictures", "png", "raw", "sample", "samples"}
    | {"seg", "set", "sets", "split", "splits", "subset", "the"}
)
_JOINED = re.compile(
    rf"({'|'.join(sorted(WORDS, key=len, reverse=True))})"
    r"(set|sets|data|dataset|dir|folder|images|imgs|pics|pictures|split)"
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")  # trainImages
_TOKEN = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class SplitName:
    """A folder's name that has the word of a split.

    Attributes:
        split: train, val or test.
        rest: its other words, in lower case, but for those that say nothing: ``cars_train`` has
            ``cars``. Empty: nothing but the split is named.
    """

    split: str
    rest: tuple[str, ...] = ()


def read_split_name(folder: str) -> SplitName | None:
    """The split that a folder's name means; None if it has the word of none, or of several.

    >>> read_split_name("Training-Set"), read_split_name("cars_test").rest
    (SplitName(split='train', rest=()), ('cars',))
    >>> [read_split_name(name) for name in ("contest", "strain", "trainer", "latest", "train test")]
    [None, None, None, None, None]
    """
    text = re.sub(r"hold[\W_]?out", "holdout", _HUMP.sub(" ", folder).lower())
    words = [_JOINED.sub(_first_if_whole, word) for word in _TOKEN.findall(text)]
    splits = [WORDS[word] for word in words if word in WORDS]
    if len(splits) != 1:
        return None
    return SplitName(splits[0], tuple(w for w in words if w not in WORDS and w not in AROUND))


def find_counterparts(names: Iterable[str]) -> list[str]:
    """Those names that differ only in the word of a split from another one, sorted.

    >>> find_counterparts(["train_cat", "test_cat", "bullet train", "crash test", "train"])
    ['test_cat', 'train_cat']
    """
    by_rest: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)  # words → name → split
    for name in names:
        if found := read_split_name(name):
            by_rest[found.rest][name] = found.split
    alike = [named for named in by_rest.values() if len(set(named.values())) > 1]
    return sorted(name for named in alike for name in named)


def _first_if_whole(match: re.Match[str]) -> str:
    return match[1] if match[0] == match.string else match[0]
