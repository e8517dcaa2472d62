"""Which picture belongs to which class and split: the rows of ``data/split.csv``."""

from __future__ import annotations

import csv
import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from pawprint.runner.errors import DataError
from pawprint.runner.params import SplitParams
from pawprint.storage.tables import write_csv

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Picture:
    """A row: a picture of the canonical archive.

    Attributes:
        path: its name in the archive.
        class_name: its class.
        split: one of ``SPLITS``; empty before the assignment.
        sha256: of its bytes, in hexadecimal.
        group: equal for pictures that must stay in one split: the same bytes, or, once
            ``pawprint.inspection.duplicates`` has looked, near duplicates.
        source_class: the class that it came with; another than ``class_name`` where a person has
            decided so. In tables of revisions that knew no decisions it is missing: the same.
    """

    path: str
    class_name: str
    split: str
    sha256: str
    group: str
    source_class: str = ""

    def __post_init__(self) -> None:
        if not self.source_class:
            object.__setattr__(self, "source_class", self.class_name)


@contextmanager
def open_archive(path: Path) -> Iterator[ZipFile]:
    """Open the canonical archive, to read pictures from it within the block.

    Raises:
        DataError: it is not a zip, is damaged, or lacks a picture that the block asks for.
    """
    with _telling_damage(path), ZipFile(path) as archive:
        yield archive


@contextmanager
def kept_archive(path: Path) -> Iterator[ZipFile]:
    """The same, for work in shards: it stays open for the next block.

    So a process reads the list of its members once, which takes seconds of a million pictures. A
    file that was written anew is opened anew.

    Raises:
        DataError: see ``open_archive``.
    """
    with _telling_damage(path):
        state = path.stat()
        yield _keep_open(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _keep_open(path: Path, *_state: int) -> ZipFile:
    return ZipFile(path)


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (BadZipFile, EOFError, KeyError, zlib.error) as error:
        raise DataError(
            f"{path}: expected the whole archive that stage download made, found: {error}; "
            "make it again with `dvc repro -f download`"
        ) from error


def read_archive_index(path: Path) -> list[Picture]:
    """List a canonical archive (`<class>/<name>` or `<split>/<class>/<name>`), hashing each.

    Raises:
        DataError: see ``open_archive``.
    """
    with open_archive(path) as archive:
        names = archive.namelist()
        divided = is_divided(names)
        pictures = []
        for name in names:
            parts = name.split("/")
            with archive.open(name) as file:  # not read at once: some file may be no picture
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            split, class_name = (parts[0], parts[1]) if divided else ("", parts[0])
            pictures.append(Picture(name, class_name, split, digest, digest[:16]))
    return pictures


def read_archive_sizes(path: Path) -> dict[str, int]:
    """The bytes of each picture of a canonical archive, by its name; errors as ``open_archive``."""
    with open_archive(path) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


def is_divided(names: Sequence[str]) -> bool:
    """Whether every name stands in a folder of a split, in which there is a folder of a class."""
    return all(name.split("/")[0] in SPLITS and name.count("/") >= 2 for name in names)


def assign_splits(
    pictures: Iterable[Picture], params: SplitParams, together: Mapping[str, str] | None = None
) -> list[Picture]:
    """Divide pictures into train, val and test.

    Stratified by class. Within a class, groups are ordered by a keyed hash of their content and
    cut at the quantiles of their pictures: the result depends neither on the order nor on the names
    of the pictures, and added pictures shift the cuts by a few places only. A class of three groups
    or more has one in each split. A division that the data brings along is kept; a split that it
    lacks is cut out of its training pictures.

    Args:
        pictures: in any order; ``split`` is empty or given by the data.
        params: shares and seed.
        together: groups that must stay together get the same name; the others keep their own.

    Returns:
        The pictures sorted by path, each with its split.
    """
    pictures = sorted(pictures, key=lambda picture: picture.path)
    given = {picture.split for picture in pictures}
    missing = [split for split in SPLITS if split not in given]
    if not missing:
        return pictures
    whole = {"train": params.train, "val": params.val, "test": params.test}
    shares = {split: whole[split] for split in missing} | {"train": params.train}
    unit = together or {}
    movable = [
        replace(p, group=unit.get(p.group, p.group)) for p in pictures if p.split in ("", "train")
    ]
    assigned = _assign_groups(movable, shares, params.seed)
    return [
        replace(p, split=assigned[unit.get(p.group, p.group)]) if p.split in ("", "train") else p
        for p in pictures
    ]


def _assign_groups(
    pictures: Sequence[Picture], shares: dict[str, float], seed: int
) -> dict[str, str]:
    """group → split; a group belongs to the class of its first picture."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)  # class → group → pictures
    class_of: dict[str, str] = {}
    for picture in pictures:
        class_name = class_of.setdefault(picture.group, picture.class_name)
        sizes[class_name][picture.group] += 1
    assigned: dict[str, str] = {}
    for members in sizes.values():
        ranked = sorted(members, key=lambda group: _keyed_hash(group, seed))
        order = _cut([members[group] for group in ranked], shares)
        assigned |= dict(zip(ranked, order, strict=True))
    return assigned


def _cut(sizes: Sequence[int], shares: dict[str, float]) -> list[str]:
    """The split of each group: that in which the middle one of its pictures falls.

    Where this leaves a split empty that could have a group, all groups count as one picture.
    """
    order = [
        split for split in SPLITS for _ in range(split_counts(sum(sizes), shares).get(split, 0))
    ]
    ends = accumulate(sizes)
    cut = [order[end - (size + 1) // 2] for end, size in zip(ends, sizes, strict=True)]
    if len(set(cut)) < min(len(sizes), len(shares)):
        return _cut([1] * len(sizes), shares)
    return cut


def split_counts(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Cut ``total`` into whole numbers in the ratio of ``shares``.

    Rounded to the nearest; train takes the remainder. With at least one picture for each split,
    none is left empty; with fewer, train is served first, then test.

    >>> split_counts(100, {"train": 0.7, "val": 0.15, "test": 0.15})
    {'train': 70, 'val': 15, 'test': 15}
    >>> split_counts(3, {"train": 0.7, "val": 0.15, "test": 0.15})
    {'train': 1, 'val': 1, 'test': 1}
    >>> split_counts(2, {"train": 0.7, "val": 0.15, "test": 0.15})
    {'train': 1, 'val': 0, 'test': 1}
    """
    whole = sum(shares.values())
    counts = {split: 0 for split in shares}
    left = total - 1
    for split in ("test", "val"):
        if split in shares and left > 0:
            counts[split] = min(left, max(1, round(total * shares[split] / whole)))
            left -= counts[split]
    counts["train"] = total - sum(counts.values())
    return counts


def _keyed_hash(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def check_splits(
    pictures: Sequence[Picture], together: Mapping[str, str] | None = None
) -> list[str]:
    """Check that a classifier can be trained and judged on a division.

    Args:
        pictures: each with its split.
        together: as of ``assign_splits``.

    Returns:
        The class names, sorted: a class's place in this list is its label.

    Raises:
        DataError: fewer than two classes, an empty split, or a class without training pictures.
    """
    class_names = sorted({picture.class_name for picture in pictures})
    if len(class_names) < 2:
        raise DataError(f"expected at least 2 classes, found {class_names}")
    counts = Counter(picture.split for picture in pictures)
    for split in SPLITS:
        if not counts[split]:
            reason = _tell_groups(pictures, together or {}) or (
                f"{len(pictures)} pictures in {len(class_names)} classes are too few; add pictures"
            )
            raise DataError(f"the split {split} is empty: {reason}")
    trained = {picture.class_name for picture in pictures if picture.split == "train"}
    if lacking := [name for name in class_names if name not in trained]:
        reason = _tell_groups([p for p in pictures if p.class_name in lacking], together or {})
        raise DataError(
            f"no training pictures of {', '.join(lacking)}: "
            f"{reason or 'add some or remove the class'}"
        )
    return class_names


def _tell_groups(pictures: Sequence[Picture], together: Mapping[str, str]) -> str:
    """How few groups some pictures are, and the ways out; empty: each picture is its own."""
    count = len({together.get(picture.group, picture.group) for picture in pictures})
    if count == len(pictures):
        return ""
    groups = "1 group" if count == 1 else f"{count} groups"
    if together:
        return (
            f"{len(pictures)} pictures form {groups}, by split.groups_file or split.groups_pattern "
            "and by near duplicates, and a group stays in one split; add other pictures, or name "
            "smaller groups"
        )
    return (
        f"{len(pictures)} pictures form {groups} of near duplicates, and a group stays in one "
        "split; add other pictures, or, if these differ in what matters, set "
        "split.near_duplicates=false or a higher split.similarity"
    )


def summarize(pictures: Sequence[Picture]) -> dict[str, int]:
    """Headline counts of a division, as written to ``metrics/data.json``.

    ``exact_duplicates`` and ``near_duplicates`` are the pictures beyond the first of each group
    (together: how many a data set without repetitions would lack). ``label_conflicts`` are groups
    of more than one class; ``across_splits`` are groups in more than one split, which only a
    division that the data brought along can leave.
    """
    groups = group_members(pictures).values()
    contents = len({picture.sha256 for picture in pictures})
    return {
        "pictures": len(pictures),
        "classes": len({picture.class_name for picture in pictures}),
        **{split: sum(p.split == split for p in pictures) for split in SPLITS},
        "exact_duplicates": len(pictures) - contents,
        "near_duplicates": contents - len(groups),
        "label_conflicts": sum(in_conflict(members) for members in groups),
        "across_splits": sum(across_splits(members) for members in groups),
    }


def group_members(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    """group → its pictures, both in the order in which they come."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.group].append(picture)
    return groups


def in_conflict(members: Iterable[Picture]) -> bool:
    """Whether one group has two labels."""
    return len({picture.class_name for picture in members}) > 1


def across_splits(members: Iterable[Picture]) -> bool:
    """Whether one group leaks from one split to another."""
    return len({picture.split for picture in members}) > 1


def leaked_pictures(pictures: Sequence[Picture], split: str, seen_in: Iterable[str]) -> list[str]:
    """Paths of the pictures of one split whose group also has a picture in others.

    Args:
        pictures: each with its split.
        split: whose pictures are asked for.
        seen_in: the splits that were seen before it.
    """
    seen = set(seen_in)
    groups = {picture.group for picture in pictures if picture.split in seen}
    return [p.path for p in pictures if p.split == split and p.group in groups]


def describe_leaks(pictures: Sequence[Picture]) -> list[str]:
    """A sentence for each kind of leak between the splits; none if there is no leak."""
    sentences = []
    for split, seen_in, effect in (
        ("test", ("train", "val"), "the test score counts pictures that the models have seen"),
        ("val", ("train",), "the best epoch is chosen on pictures that were trained on"),
    ):
        if leaked := leaked_pictures(pictures, split, seen_in):
            total = sum(picture.split == split for picture in pictures)
            verb = "is" if len(leaked) == 1 else "are"
            sentences.append(
                f"{len(leaked)} of {total} pictures in {split} {verb} also in "
                f"{' or '.join(seen_in)}, as the same file or a near duplicate: {effect}"
            )
    return sentences


def write_manifest(path: Path, pictures: Iterable[Picture]) -> None:
    header = [field.name for field in fields(Picture)]
    write_csv(path, header, (list(asdict(picture).values()) for picture in pictures))


def read_manifest(path: Path) -> list[Picture]:
    with open(path, encoding="utf-8", newline="") as file:
        return [Picture(**row) for row in csv.DictReader(file)]
