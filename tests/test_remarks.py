# covers: B4, B5, R12
"""What stage split warns of, in a sentence each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pawprint.data.manifest import Picture
from pawprint.inspection.data_report import write_data_report
from pawprint.inspection.remarks import list_remarks
from pawprint.inspection.thumbnails import Header, Thumbnail


def pictures(class_name: str, **counts: int) -> list[Picture]:
    """So many of each split, all different."""
    rows = []
    for split, count in counts.items():
        for i in range(count):
            path = f"{class_name}/{split}{i}.jpg"
            digest = hashlib.sha256(path.encode()).hexdigest()
            rows.append(Picture(path, class_name, split, digest, digest[:16]))
    return rows


BALANCED = pictures("cat", train=3, val=1, test=1) + pictures("dog", train=9, val=3, test=3)


def remarks(rows: Sequence[Picture], *values: int, max_value: int = 0) -> list[str]:
    looks = [Thumbnail(Header(9, 9, "TIFF", "I;16"), largest=value) for value in values]
    looks += [Thumbnail(Header(9, 9, "JPEG", "RGB"))] * (len(rows) - len(looks))
    return list_remarks(rows, looks, max_value)


def test_there_is_nothing_to_say_of_data_without_flaws() -> None:
    assert remarks(BALANCED) == []  # three times as many is not more than three times as many


def test_a_class_of_more_than_three_times_another_is_told() -> None:
    (found,) = remarks([*BALANCED, *pictures("dog", more=1)])
    assert found.startswith("unbalanced classes: 16 pictures of dog, 5 of cat: accuracy ")


def test_classes_without_validation_or_test_pictures_are_named() -> None:
    owls = pictures("owl", train=4, test=1)
    eagles = pictures("eagle", train=5)
    found = remarks([*BALANCED, *owls, *eagles])
    assert [remark.split(":")[0] for remark in found] == [
        "no val pictures of eagle, owl",
        "no test pictures of eagle",
    ]


def test_why_a_class_of_one_sequence_has_none_is_told() -> None:
    frames = [replace(p, group="camera") for p in pictures("owl", train=12)]
    found = remarks([*BALANCED, *frames])
    assert found[0].startswith("no val pictures of owl (12 pictures in 1 group): ")


def test_of_many_classes_five_are_named() -> None:
    rows = [p for i in range(9) for p in pictures(f"c{i}", train=5, val=1)]
    assert remarks([*BALANCED, *rows])[0].startswith(
        "no test pictures of c0, c1, c2, c3, c4 and 4 m"
    )


@pytest.mark.parametrize(
    ("values", "suggested"),
    [
        ((4095, 12), 4095),
        ((1024,), 4095),
        ((1023,), 1023),
        ((200, 255), 255),
        ((256,), 1023),
        ((16_383,), 16_383),
    ],
)
def test_dark_16_bit_pictures_are_told_with_the_range_to_set(
    values: tuple[int, ...], suggested: int
) -> None:
    (found,) = remarks(BALANCED, *values)
    assert f"no value above {max(values)}, and so come out dark" in found
    assert found.endswith(f" or bright where 0 is white: set preprocess.max_value={suggested}")
    assert remarks(BALANCED, *values, max_value=suggested) == []


@pytest.mark.parametrize("values", [(), (0,), (16_384,), (0, 65_535)])
def test_other_16_bit_pictures_are_not(values: tuple[int, ...]) -> None:
    assert remarks(BALANCED, *values) == []


def test_one_bright_pixel_of_one_picture_silences_nothing() -> None:
    (found,) = remarks(BALANCED, 4095, 65_535, 100)
    assert found.startswith("2 of 3 16-bit pictures have no value above 4095, and so come out dark")
    assert "set preprocess.max_value=4095, if" in found


def test_copies_under_two_labels_are_told() -> None:
    one, *rest = BALANCED
    other = replace(one, path="z/copy.jpg", class_name="z")
    pictures = [one, other, *rest]
    found = list_remarks(pictures, [Thumbnail(None)] * len(pictures), 0)
    assert any(text.startswith("1 picture is in more than one class, as copies") for text in found)


def test_a_range_that_is_too_small_is_told() -> None:
    (found,) = remarks(BALANCED, 1000, 5000, 1024, max_value=1023)
    assert found.startswith(
        "2 16-bit pictures have values above preprocess.max_value = 1023, up to "
        "5000: they count as 1023"
    )


def test_the_report_has_sections_only_where_there_is_something_to_say(tmp_path: Path) -> None:
    plain = [Thumbnail(Header(9, 9, "JPEG", "RGB"))] * len(BALANCED)
    write_data_report(tmp_path, BALANCED, plain, [])
    before = (tmp_path / "report.md").read_text()
    assert "##" in before
    assert not {"## To mind", "## 16-bit pictures", "## Groups"} & set(before.splitlines())
    looks = [Thumbnail(None, largest=value) for value in (900, 4000, 4095)] + plain[3:]
    write_data_report(tmp_path, BALANCED, looks, [], ["no owls"])
    after = (tmp_path / "report.md").read_text()
    assert "\n\n## To mind\n\n- no owls.\n\n## Duplicates\n" in after
    rows = ["| values up to | bits | pictures |", "| --- | --- | --- |"]
    rows += ["| 1023 | 10 | 1 |", "| 4095 | 12 | 2 |"]
    assert "\n".join(rows) in after
    assert "3 do not say which value is white; the largest value in them is 4095." in after
