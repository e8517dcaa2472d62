# covers: B15, R12
"""Named groups: patients, cameras and sequences stay on one side of a division."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pawprint.data.groups import Groups, parted_groups, read_groups, unite
from pawprint.data.manifest import Picture, assign_splits, check_splits
from pawprint.inspection.data_report import write_data_report
from pawprint.inspection.remarks import list_remarks
from pawprint.inspection.thumbnails import Thumbnail
from pawprint.runner.errors import DataError
from pawprint.runner.params import Params, SplitParams


def picture(path: str, split: str = "") -> Picture:
    digest = hashlib.sha256(path.encode()).hexdigest()
    parts = path.split("/")
    return Picture(path, parts[1] if split else parts[0], split, digest, digest[:16])


def patients(count: int, each: int = 6) -> list[Picture]:
    """Of every patient pictures of both classes."""
    return [
        picture(f"{kind}/patient{number:02d}_{i}.jpg")
        for number in range(count)
        for kind in ("ill", "well")
        for i in range(each // 2)
    ]


def patient(path: str) -> str:
    return path.split("/")[-1].split("_")[0]


@pytest.fixture
def split(committed: Params, tmp_path: Path) -> SplitParams:
    return committed.split.model_copy(update={"groups_file": str(tmp_path)})


def with_table(split: SplitParams, tmp_path: Path, text: str | bytes) -> SplitParams:
    path = tmp_path / "table.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return split.model_copy(update={"groups_file": str(path)})


def with_pattern(split: SplitParams, pattern: str) -> SplitParams:
    return split.model_copy(update={"groups_pattern": pattern})


def read(split: SplitParams, pictures: Sequence[Picture]) -> Groups:
    groups = read_groups(split, pictures)
    assert groups is not None
    return groups


def splits_of(pictures: Sequence[Picture]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for p in pictures:
        found.setdefault(patient(p.path), set()).add(p.split)
    return found


def test_without_groups_nothing_changes(split: SplitParams) -> None:
    rows = patients(20)
    assert read_groups(split, rows) is None
    assert assign_splits(rows, split, {}) == assign_splits(rows, split)


@pytest.mark.parametrize("kind", ["pattern", "table"])
def test_patients_stay_on_one_side_that_a_division_by_pictures_would_part(
    kind: str, split: SplitParams, tmp_path: Path
) -> None:
    rows = patients(40)
    naive = splits_of(assign_splits(rows, split))
    assert sum(len(found) > 1 for found in naive.values()) > 20
    table = "path,group\n" + "".join(f"{p.path},{patient(p.path)}\n" for p in rows)
    told = (
        with_table(split, tmp_path, table)
        if kind == "table"
        else with_pattern(split, "(patient[0-9]+)_")
    )
    groups = read(told, rows)
    assert groups.names == sorted(naive)
    divided = assign_splits(rows, told, unite(rows, groups))
    assert all(len(found) == 1 for found in splits_of(divided).values())
    assert {p.split for p in divided} == {"train", "val", "test"}
    assert abs(sum(p.split == "train" for p in divided) - 168) <= 6  # 70 % of 240
    assert check_splits(divided) == ["ill", "well"]
    assert [p.group for p in divided] == [p.group for p in sorted(rows, key=lambda p: p.path)]


def test_a_duplicate_joins_two_patients_and_a_picture_without_a_group(split: SplitParams) -> None:
    rows = [picture(f"cat/{name}_{i}.jpg") for name in ("a", "b", "c", "d") for i in range(3)]
    shared = rows[0].group
    rows[3] = replace(rows[3], group=shared)  # one picture of b is a near duplicate of one of a
    rows.append(replace(picture("cat/lone.jpg"), group=shared))
    groups = read(with_pattern(split, "([a-d])_"), rows)
    together = unite(rows, groups)
    assert together == unite(rows[::-1], groups)
    units = {p.path: together.get(p.group, p.group) for p in rows}
    of_a_and_b = {units[p.path] for p in rows if p.path[4] in "abl"}
    assert len(of_a_and_b) == 1
    assert len(set(units.values())) == 3


def test_a_further_picture_of_a_patient_moves_nobody(split: SplitParams) -> None:
    told = with_pattern(split, "(patient[0-9]+)")
    rows = patients(40)
    before = splits_of(assign_splits(rows, told, unite(rows, read(told, rows))))
    rows.append(picture("ill/patient07_new.jpg"))
    after = splits_of(assign_splits(rows, told, unite(rows, read(told, rows))))
    assert sum(before[name] != after[name] for name in before) <= 1


@pytest.mark.parametrize(
    "written",
    [
        "cat/sub__1.jpg",
        "cat/sub/1.jpg",
        "./cat/sub/1.jpg",
        "my data/cat/sub/1.jpg",
        "cat\\sub\\1.jpg",
        "sub/1.jpg",
    ],
)
def test_paths_are_found_as_in_the_archive_and_as_in_the_source(
    written: str, split: SplitParams, tmp_path: Path
) -> None:
    rows = [picture("cat/sub__1.jpg"), picture("cat/1.jpg"), picture("dog/1.jpg")]
    told = with_table(split, tmp_path, f"path,group\n{written},one\n")
    assert read(told, rows).name_of == {"cat/sub__1.jpg": "one"}


@pytest.mark.parametrize("written", ["owl/1.jpg", "1.jpg", "cat", ""])
def test_paths_of_no_picture_or_of_several_are_counted(
    written: str, split: SplitParams, tmp_path: Path
) -> None:
    rows = [picture("cat/1.jpg"), picture("dog/1.jpg")]
    groups = read(with_table(split, tmp_path, f"path,group\n{written},x\ncat/1.jpg,one\n"), rows)
    assert (groups.name_of, groups.unknown) == ({"cat/1.jpg": "one"}, 1)


def test_tables_as_programs_of_offices_write_them(split: SplitParams, tmp_path: Path) -> None:
    text = "\ufeffgroup;path;age\r\nKäfer 1;cat/1.jpg;3\r\n;dog/1.jpg;4\r\n"
    rows = [picture("cat/1.jpg"), picture("dog/1.jpg")]
    assert read(with_table(split, tmp_path, text), rows).name_of == {"cat/1.jpg": "Käfer 1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "expected the columns path and group in its first line, found nothing"),
        ("file,patient\na,b\n", "the columns path and group in its first line, found file,patient"),
        ("path,group\n", "'cat/1.jpg' with their groups, found none"),
        ("path,group\nowl/9.jpg,a\n", "'cat/1.jpg' with their groups, found 'owl/9.jpg'"),
        ("path,group\ncat/1.jpg\n", "'cat/1.jpg' with their groups"),
        (b"path,group\ncat/1.jpg,\xff\n", "expected UTF-8 text"),
        ('path,group\n"cat/1.jpg,a\n', "expected a CSV, found: "),
        ("path,group\ncat/1.jpg,a\ncat/1.jpg,b\n", "row 3: cat/1.jpg is in group 'a' and in gro"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    text: str | bytes, found: str, split: SplitParams, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"table\.txt") as caught:
        read_groups(with_table(split, tmp_path, text), [picture("cat/1.jpg")])
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pattern_that_fits_nothing_is_refused(split: SplitParams) -> None:
    with pytest.raises(DataError, match=r"groups_pattern: .*'ill/patient00_0\.jpg', but '\(x\)'"):
        read_groups(with_pattern(split, "(x)"), patients(1))


def test_both_ways_at_once_are_refused(split: SplitParams, tmp_path: Path) -> None:
    told = with_pattern(with_table(split, tmp_path, "path,group\n"), "(x)")
    with pytest.raises(DataError, match=r"groups_file = .* and split\.groups_pattern = .* both"):
        read_groups(told, patients(1))


def test_a_folder_that_holds_a_table_is_not_taken_for_none(
    split: SplitParams, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("path,group\n")
    with pytest.raises(DataError, match=r"set split\.groups_file=\S*mine\.csv"):
        read_groups(split, patients(1))


def test_a_patient_in_two_given_splits_is_reported(split: SplitParams, tmp_path: Path) -> None:
    given = {"train": (0, 1, 2), "val": (3,), "test": (2, 4)}
    rows = [
        picture(f"{part}/{kind}/patient{number}_{part}{kind}.jpg", part)
        for part, numbers in given.items()
        for kind in ("ill", "well")
        for number in numbers
    ]
    rows.append(picture("train/ill/unknown.jpg", "train"))
    groups = read(with_pattern(split, "(patient[0-9])"), rows)
    together = unite(rows, groups)
    divided = assign_splits(rows, split, together)
    assert list(parted_groups(divided, groups)) == ["patient2"]
    thumbnails = [Thumbnail(None)] * len(divided)
    remarks = list_remarks(divided, thumbnails, 0, groups, together)
    assert [remark.split(":")[0] for remark in remarks] == [
        "1 group is in more than one split, as the data came divided",
        "1 picture has no group by split.groups_pattern",
    ]
    write_data_report(tmp_path, divided, thumbnails, [], remarks, groups)
    text = (tmp_path / "report.md").read_text()
    assert "| groups | 5 | split.groups_pattern |" in text
    assert "| groups in more than one split | 1 | parted_groups.csv |" in text
    lines = (tmp_path / "parted_groups.csv").read_text().splitlines()
    assert lines[:2] == [
        "group,path,class,split",
        "patient2,test/ill/patient2_testill.jpg,ill,test",
    ]
    assert len(lines) == 5


def test_two_patients_are_too_few_and_it_is_said(split: SplitParams) -> None:
    rows = patients(2, 20)
    groups = read(with_pattern(split, "(patient[0-9]+)"), rows)
    together = unite(rows, groups)
    with pytest.raises(
        DataError, match=r"test is empty: 40 pictures form 2 groups, by .*groups_file"
    ):
        check_splits(assign_splits(rows, split, together), together)
