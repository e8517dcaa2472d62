"""What a person should mind of a data set, in a sentence each; nothing of it stops a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pawprint.data.groups import Groups, parted_groups
from pawprint.data.manifest import SPLITS, Picture, group_members, in_conflict
from pawprint.inspection.thumbnails import Thumbnail

RANGES = (255, 1023, 4095, 16_383, 65_535)  # the largest values of 8, 10, 12, 14 and 16 bits
_UNBALANCED = 3  # times as many pictures
_NAMED = 5  # classes, of many


def list_remarks(
    pictures: Sequence[Picture],
    thumbnails: Sequence[Thumbnail],
    max_value: int,
    groups: Groups | None = None,
    together: Mapping[str, str] | None = None,
) -> list[str]:
    """Sentences without a full stop, the gravest first.

    Args:
        pictures: each with its split.
        thumbnails: of the same pictures.
        max_value: ``preprocess.max_value``.
        groups: the named ones.
        together: see ``pawprint.data.groups.unite``.
    """
    return [
        *_classes_without(pictures, together or {}),
        *_conflicts(pictures),
        *_groups(pictures, groups),
        *_range_of_16_bits(thumbnails, max_value),
        *_imbalance(pictures),
    ]


def _classes_without(pictures: Sequence[Picture], together: Mapping[str, str]) -> list[str]:
    counts = Counter((picture.class_name, picture.split) for picture in pictures)
    sizes = Counter(picture.class_name for picture in pictures)
    groups: dict[str, set[str]] = {name: set() for name in sizes}
    for picture in pictures:
        groups[picture.class_name].add(together.get(picture.group, picture.group))
    remarks = []
    for split in SPLITS:
        lacking = [
            f"{name} ({size} pictures in {_number(len(groups[name]), 'group', 'groups')})"
            if len(groups[name]) < len(SPLITS) <= size
            else name
            for name, size in sorted(sizes.items())
            if not counts[name, split]
        ]
        if lacking:
            remarks.append(
                f"no {split} pictures of {_enumerate(lacking)}: what is measured on {split} says "
                "nothing of them; add some"
            )
    return remarks


def _conflicts(pictures: Sequence[Picture]) -> list[str]:
    conflicts = sum(in_conflict(members) for members in group_members(pictures).values())
    if not conflicts:
        return []
    return [
        f"{_number(conflicts, 'picture is', 'pictures are')} in more than one class, as copies: a "
        "label of each is wrong; see data/report/conflicts.csv"
    ]


def _groups(pictures: Sequence[Picture], groups: Groups | None) -> list[str]:
    if groups is None:
        return []
    remarks = []
    if parted := parted_groups(pictures, groups):
        remarks.append(
            f"{_number(len(parted), 'group is', 'groups are')} in more than one split, as the data "
            "came divided: scores are of patients, cameras or sequences that were trained on; see "
            "data/report/parted_groups.csv"
        )
    without = len(pictures) - len(groups.name_of)
    if without:
        remarks.append(
            f"{_number(without, 'picture has', 'pictures have')} no group by {groups.source}: each "
            "is divided by itself, or with its duplicates"
        )
    if groups.unknown:
        remarks.append(
            f"{_number(groups.unknown, 'row names', 'rows name')} no picture in {groups.source}: "
            "expected paths as in data/split.csv"
        )
    return remarks


def _range_of_16_bits(thumbnails: Sequence[Thumbnail], max_value: int) -> list[str]:
    found = values_of_16_bits(thumbnails)
    largest = max(found, default=0)
    if max_value:
        brighter = sum(value > max_value for value in found)
        return [
            f"{_number(brighter, '16-bit picture has', '16-bit pictures have')} values above "
            f"preprocess.max_value = {max_value}, up to {largest}: they count as {max_value}"
        ] * (brighter > 0)
    dark = [value for value in found if 0 < value <= RANGES[-2]]  # less than a quarter of it all
    if not dark:
        return []
    largest = max(dark)
    suggested = next(most for most in RANGES if largest <= most)
    remedy = (
        f"and so come out dark, or bright where 0 is white: set preprocess.max_value={suggested}"
    )
    if len(dark) == len(found):
        have = _number(len(dark), "16-bit picture has", "16-bit pictures have")
        return [f"{have} no value above {largest}, {remedy}"]
    return [
        f"{len(dark)} of {len(found)} 16-bit pictures have no value above {largest}, {remedy}, if "
        "the others' brighter values are faults"
    ]


def values_of_16_bits(thumbnails: Sequence[Thumbnail]) -> list[int]:
    """The largest value of each picture of 16 bits that does not say its range."""
    return [thumbnail.largest for thumbnail in thumbnails if thumbnail.largest is not None]


def _imbalance(pictures: Sequence[Picture]) -> list[str]:
    sizes = Counter(picture.class_name for picture in pictures)
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    (large, most), (small, least) = ranked[0], ranked[-1]
    if most <= _UNBALANCED * least:
        return []
    return [
        f"unbalanced classes: {most} pictures of {large}, {least} of {small}: accuracy is mostly "
        "that of the large classes; look at each class's own scores"
    ]


def _number(count: int, one: str, more: str) -> str:
    """
    >>> _number(1, "group is", "groups are"), _number(2, "group is", "groups are")
    ('1 group is', '2 groups are')
    """
    return f"{count} {one if count == 1 else more}"


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
