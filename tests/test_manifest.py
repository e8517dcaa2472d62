"""The division of pictures into train, val and test."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from pawprint.data.manifest import (
    Picture,
    assign_splits,
    check_splits,
    describe_leaks,
    is_divided,
    kept_archive,
    leaked_pictures,
    read_archive_index,
    read_manifest,
    split_counts,
    summarize,
    write_manifest,
)
from pawprint.runner.errors import DataError
from pawprint.runner.params import SplitParams

# covers: C3, R12, B4

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def params(
    train: float = 0.7, val: float = 0.15, test: float = 0.15, seed: int = 42
) -> SplitParams:
    return SplitParams(
        train=train,
        val=val,
        test=test,
        seed=seed,
        near_duplicates=True,
        similarity=0.62,
        groups_file="data/groups",
        groups_pattern="",
        decisions="data/decisions.csv",
    )


def picture(path: str, class_name: str, split: str = "", content: str = "") -> Picture:
    digest = hashlib.sha256((content or path).encode()).hexdigest()
    return Picture(path, class_name, split, digest, digest[:16])


def pictures(count: int, class_name: str = "cat", split: str = "") -> list[Picture]:
    return [picture(f"{split}{class_name}/{i:05d}.jpg", class_name, split) for i in range(count)]


def split_of(rows: Sequence[Picture]) -> dict[str, str]:
    return {row.sha256: row.split for row in rows}


def counts(rows: Sequence[Picture]) -> Counter[tuple[str, str]]:
    return Counter((row.class_name, row.split) for row in rows)


@pytest.mark.parametrize(
    ("total", "train", "val", "test"),
    [
        (1400, 980, 210, 210),
        (101, 71, 15, 15),  # 15.15 pictures are 15; train takes the rest
        (10, 6, 2, 2),  # 1.5 is 2, to the even neighbour
        (9, 7, 1, 1),  # 1.35 is 1
        (4, 2, 1, 1),  # 0.6 is 1
        (3, 1, 1, 1),
        (2, 1, 0, 1),
        (1, 1, 0, 0),
        (0, 0, 0, 0),
    ],
)
def test_split_counts(total: int, train: int, val: int, test: int) -> None:
    assert split_counts(total, SHARES) == {"train": train, "val": val, "test": test}


def test_no_split_is_left_empty_by_small_shares() -> None:
    assert split_counts(5, {"train": 0.98, "val": 0.01, "test": 0.01}) == {
        "train": 3,
        "val": 1,
        "test": 1,
    }


def test_each_class_is_divided_by_the_shares() -> None:
    rows = assign_splits(pictures(1000, "cat") + pictures(200, "dog"), params())
    assert counts(rows) == {
        ("cat", "train"): 700,
        ("cat", "val"): 150,
        ("cat", "test"): 150,
        ("dog", "train"): 140,
        ("dog", "val"): 30,
        ("dog", "test"): 30,
    }


def test_one_seed_repeats_and_two_seeds_differ() -> None:
    rows = pictures(1000)
    first = assign_splits(rows, params(seed=1))
    assert assign_splits(rows, params(seed=1)) == first
    other = split_of(assign_splits(rows, params(seed=2)))
    moved = sum(other[row.sha256] != row.split for row in first)
    # two independent divisions agree on 0.7² + 0.15² + 0.15² = 53.5 % of the pictures
    assert 380 < moved < 550


def test_order_and_names_do_not_matter() -> None:
    rows = pictures(200)
    division = split_of(assign_splits(rows, params()))
    assert split_of(assign_splits(rows[::-1], params())) == division
    renamed = [replace(row, path=f"cat/{row.sha256}.png") for row in rows]
    assert split_of(assign_splits(renamed, params())) == division


def test_rows_are_sorted_by_path() -> None:
    rows = assign_splits(pictures(20)[::-1], params())
    assert [row.path for row in rows] == sorted(row.path for row in rows)


def test_one_percent_of_new_pictures_moves_at_most_about_one_percent() -> None:
    rows = pictures(10_000)
    before = split_of(assign_splits(rows, params()))
    added = [picture(f"cat/added{i}.jpg", "cat") for i in range(100)]
    after = split_of(assign_splits(rows + added, params()))
    moved = sum(after[digest] != split for digest, split in before.items())
    # each of the two cuts moves by some ten places; a shuffle of all rows would move 4,650
    assert moved <= 100


def test_removed_pictures_move_at_most_about_as_many() -> None:
    rows = pictures(10_000)
    before = split_of(assign_splits(rows, params()))
    after = split_of(assign_splits(rows[100:], params()))
    assert sum(before[digest] != split for digest, split in after.items()) <= 100


def test_another_class_moves_nothing() -> None:
    before = split_of(assign_splits(pictures(100, "cat"), params()))
    after = split_of(assign_splits(pictures(100, "cat") + pictures(50, "dog"), params()))
    assert before.items() <= after.items()


def test_identical_pictures_stay_together_even_across_classes() -> None:
    rows = [
        picture(f"{class_name}/{i:03d}.jpg", class_name, content=f"content {i // 2}")
        for i in range(300)
        for class_name in ("cat", "dog")
    ]
    by_content: dict[str, set[str]] = {}
    for row in assign_splits(rows, params()):
        by_content.setdefault(row.sha256, set()).add(row.split)
    assert len(by_content) == 150
    assert all(len(splits) == 1 for splits in by_content.values())
    assert set.union(*by_content.values()) == {"train", "val", "test"}


def test_a_division_that_the_data_brings_is_kept() -> None:
    rows = pictures(5, split="test") + pictures(6, split="train") + pictures(7, split="val")
    assert assign_splits(rows, params()) == sorted(rows, key=lambda row: row.path)


def test_a_missing_val_is_cut_out_of_train() -> None:
    rows = pictures(100, split="test") + pictures(850, split="train")
    divided = assign_splits(rows, params())
    # 850 · 0.15 / (0.7 + 0.15) = 150
    assert Counter(row.split for row in divided) == {"train": 700, "val": 150, "test": 100}
    assert all((row.split == "test") == row.path.startswith("test") for row in divided)


def test_missing_val_and_test_are_cut_out_of_train() -> None:
    divided = assign_splits(pictures(1000, split="train"), params())
    assert Counter(row.split for row in divided) == {"train": 700, "val": 150, "test": 150}


def test_a_class_of_three_has_one_in_each_split_and_a_class_of_one_is_trained_on() -> None:
    rows = assign_splits(pictures(100, "cat") + pictures(3, "fox") + pictures(1, "owl"), params())
    assert [counts(rows)["fox", split] for split in ("train", "val", "test")] == [1, 1, 1]
    assert counts(rows)["owl", "train"] == 1
    assert check_splits(rows) == ["cat", "fox", "owl"]


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected at least 2 classes, found \['cat'\]"):
        check_splits(assign_splits(pictures(100), params()))


def test_too_few_pictures_are_refused() -> None:
    rows = assign_splits(pictures(1, "cat") + pictures(2, "dog"), params())
    with pytest.raises(DataError, match=r"split val is empty: 3 pictures .* add pictures"):
        check_splits(rows)


def test_few_groups_of_near_duplicates_are_told_with_the_ways_out() -> None:
    rows = [
        replace(p, group=f"camera of {p.class_name}")
        for p in pictures(30, "cat") + pictures(28, "dog")
    ]
    with pytest.raises(
        DataError, match=r"^the split \w+ is empty: 58 pictures form 2 groups"
    ) as caught:
        check_splits(assign_splits(rows, params()))
    message = str(caught.value)
    for way in ("add other pictures", "split.near_duplicates=false", "a higher split.similarity"):
        assert way in message


def test_a_class_that_is_in_a_group_of_another_is_told_with_its_groups() -> None:
    rows = [
        *pictures(5, "cat", "train"),
        *pictures(5, "cat", "val"),
        *pictures(5, "cat", "test"),
        *(replace(p, group="one") for p in pictures(5, "owl", "test")),
    ]
    with pytest.raises(DataError, match=r"no training pictures of owl: 5 pictures form 1 group of"):
        check_splits(assign_splits(rows, params()))


def test_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least 2 classes"):
        check_splits(assign_splits([], params()))


def test_a_class_without_training_pictures_is_refused() -> None:
    rows = [
        *pictures(5, "cat", "train"),
        *pictures(5, "cat", "val"),
        *pictures(5, "cat", "test"),
        *pictures(5, "owl", "test"),
    ]
    with pytest.raises(DataError, match="no training pictures of owl"):
        check_splits(assign_splits(rows, params()))


def grouped(sizes: Sequence[int]) -> list[Picture]:
    """Groups of near duplicates of one class, of the given sizes."""
    return [
        replace(picture(f"cat/{g}-{i}", "cat"), group=f"group {g}")
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


def test_groups_of_near_duplicates_are_never_cut_and_shares_are_of_pictures() -> None:
    rows = assign_splits(grouped([1] * 700 + [30] * 10), params())
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in by_group.values())
    sizes = Counter(row.split for row in rows)
    # 1000 pictures: each of the two cuts falls at most half a group of 30 from its place
    assert abs(sizes["train"] - 700) <= 15
    assert abs(sizes["val"] - 150) <= 30
    assert abs(sizes["test"] - 150) <= 15


@pytest.mark.parametrize("sizes", [[10, 1, 1], [1, 10, 1], [1, 1, 10], [50, 2, 2, 1]])
def test_large_groups_leave_no_split_empty(sizes: list[int]) -> None:
    rows = assign_splits(grouped(sizes), params())
    assert {row.split for row in rows} == {"train", "val", "test"}


def test_summary_counts_duplicates_and_label_conflicts() -> None:
    near = picture("cat/5", "cat", "train", "e")
    rows = [
        picture("cat/1", "cat", "train", "a"),
        picture("cat/2", "cat", "train", "a"),
        picture("cat/3", "cat", "train", "b"),
        picture("dog/1", "dog", "train", "b"),
        picture("dog/2", "dog", "val", "c"),
        picture("dog/3", "dog", "test", "d"),
        near,
        replace(picture("dog/4", "dog", "test", "f"), group=near.group),
    ]
    assert summarize(rows) == {
        "pictures": 8,
        "classes": 2,
        "train": 5,
        "val": 1,
        "test": 2,
        "exact_duplicates": 2,
        "near_duplicates": 1,
        "label_conflicts": 2,
        "across_splits": 1,
    }


@pytest.mark.parametrize(
    ("names", "divided"),
    [
        (["train/cat/1.jpg", "val/cat/2.jpg"], True),
        (["train/cat/1.jpg", "cat/2.jpg"], False),
        (["train/1.jpg", "test/2.jpg"], False),  # classes called train and test
        (["cat/1.jpg"], False),
    ],
)
def test_only_folders_of_splits_with_folders_of_classes_are_a_division(
    names: list[str], divided: bool
) -> None:
    assert is_divided(names) is divided


def test_archive_index_names_class_split_and_digest(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("train/cat/1.jpg", b"one")
        archive.writestr("test/dog/x/2.jpg", b"two")
    rows = read_archive_index(tmp_path / "images.zip")
    assert [(row.path, row.class_name, row.split) for row in rows] == [
        ("train/cat/1.jpg", "cat", "train"),
        ("test/dog/x/2.jpg", "dog", "test"),
    ]
    assert rows[0].sha256 == hashlib.sha256(b"one").hexdigest()


def test_manifest_round_trips_with_any_name(tmp_path: Path) -> None:
    rows = [picture('cat/a, "b"\n.jpg', "cat", "train"), picture("Käfer/日本.jpg", "Käfer", "test")]
    write_manifest(tmp_path / "split.csv", rows)
    assert read_manifest(tmp_path / "split.csv") == rows


def test_leaks_are_told_split_by_split() -> None:
    """By groups: the same file, or what was found to be a near duplicate."""
    rows = [
        picture("a", "cat", "train", "one"),
        picture("b", "cat", "test", "one"),
        picture("c", "cat", "val", "two"),
        picture("d", "dog", "test", "two"),
        picture("e", "cat", "test", "three"),
        picture("f", "cat", "test", "three"),  # twice in one split is no leak
    ]
    assert leaked_pictures(rows, "test", ("train", "val")) == ["b", "d"]
    assert leaked_pictures(rows, "test", ("train",)) == ["b"]
    assert describe_leaks(rows) == [
        "2 of 4 pictures in test are also in train or val, as the same file or a near duplicate: "
        "the test score counts pictures that the models have seen"
    ]
    rows.append(picture("g", "cat", "val", "one"))
    assert describe_leaks(rows)[1] == (
        "1 of 2 pictures in val is also in train, as the same file or a near duplicate: "
        "the best epoch is chosen on pictures that were trained on"
    )
    assert describe_leaks([row for row in rows if row.split == "test"]) == []


def test_an_archive_that_is_kept_open_is_read_anew_when_it_was_written_anew(
    tmp_path: Path,
) -> None:
    path = tmp_path / "images.zip"
    for name, content in (("cat/1.jpg", b"one"), ("cat/2.jpg", b"other")):
        with ZipFile(path, "w") as archive:
            archive.writestr(name, content)
        with kept_archive(path) as first, kept_archive(path) as second:
            assert first is second
            assert (first.namelist(), second.read(name)) == ([name], content)
    line = r"images\.zip: .* make it again with `dvc repro -f download`"
    with pytest.raises(DataError, match=line), kept_archive(path) as archive:
        archive.read("cat/1.jpg")
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"File is not a zip file"), kept_archive(path):
        pass
