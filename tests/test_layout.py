# covers: R11, R12, C2
from __future__ import annotations

import pytest

from pawprint.runner.errors import LayoutError, SourceError
from pawprint.sources.layout import read_layout


def paths(*names: str) -> list[str]:
    return [picture.path for picture in read_layout(names, "src").pictures]


def test_class_folders_below_wrappers():
    layout = read_layout(["a/PetImages/Dog/1.jpg", "a/PetImages/Cat/1.jpg", "a/readme.md"], "src")
    assert [picture.path for picture in layout.pictures] == ["Cat/1.jpg", "Dog/1.jpg"]
    assert [picture.index for picture in layout.pictures] == [1, 0]
    assert layout.ignored == {"not a picture": 1}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("training_set", "validation", "test_set"),
    ],
)
def test_division_is_kept_under_one_spelling(train, val, test):
    found = paths(
        *[f"data/{split}/{name}/1.png" for split in (train, val, test) for name in ("cat", "dog")]
    )
    assert found == [
        *("test/cat/1.png", "test/dog/1.png"),
        *("train/cat/1.png", "train/dog/1.png"),
        *("val/cat/1.png", "val/dog/1.png"),
    ]


def test_division_without_val_stays_without_val():
    assert paths("train/a/1.jpg", "train/b/1.jpg", "test/b/2.jpg") == [
        "test/b/2.jpg",
        "train/a/1.jpg",
        "train/b/1.jpg",
    ]


def test_train_alone_is_no_division():
    assert paths("train/a/1.jpg", "train/b/1.jpg") == ["a/1.jpg", "b/1.jpg"]


def test_each_split_may_have_its_own_wrapper():
    assert paths(
        "training_set/training_set/a/1.jpg",
        "training_set/training_set/b/1.jpg",
        "test_set/test_set/a/2.jpg",
    ) == ["test/a/2.jpg", "train/a/1.jpg", "train/b/1.jpg"]


def test_a_class_may_be_called_train():
    assert paths("train/1.jpg", "car/1.jpg") == ["car/1.jpg", "train/1.jpg"]


def test_kaggle_prefixes_and_its_unlabelled_test_set():
    layout = read_layout(
        [
            *("train/dog.1.jpg", "train/cat.0.jpg", "train/cat.10.jpg"),
            *("test1/1.jpg", "test1/2.jpg", "sampleSubmission.csv"),
        ],
        "src",
    )
    assert [picture.path for picture in layout.pictures] == [
        "cat/cat.0.jpg",
        "cat/cat.10.jpg",
        "dog/dog.1.jpg",
    ]
    assert layout.ignored == {"not a picture": 1, "unlabelled": 2}


def test_prefixes_without_any_folder():
    assert paths("cat.0.jpg", "hot.dog.0.jpg") == ["cat/cat.0.jpg", "hot.dog/hot.dog.0.jpg"]


def test_prefixes_in_divided_folders():
    assert paths("train/cat.0.jpg", "train/dog.0.jpg", "val/cat.1.jpg") == [
        "train/cat/cat.0.jpg",
        "train/dog/dog.0.jpg",
        "val/cat/cat.1.jpg",
    ]


def test_one_name_without_prefix_spoils_the_prefixes():
    with pytest.raises(LayoutError, match=r"found 3 pictures; 1 of them .* a class: 'holiday.jpg'"):
        paths("cat.0.jpg", "dog.0.jpg", "holiday.jpg")


def test_class_folders_win_over_prefixed_names():
    assert paths("x/cat.0.jpg", "y/dog.0.jpg") == ["x/cat.0.jpg", "y/dog.0.jpg"]


def test_unlabelled_pictures_beside_labelled_ones_are_counted():
    layout = read_layout(
        [
            *("train/a/1.jpg", "train/b/1.jpg", "train/stray.jpg"),
            *("val/a/2.jpg", "test/1.jpg", "test/2.jpg"),
        ],
        "src",
    )
    assert [p.path for p in layout.pictures] == ["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg"]
    assert layout.ignored == {"unlabelled": 3}


def test_test_folder_of_unlabelled_pictures_in_a_wrapper():
    layout = read_layout(["train/a/1.jpg", "train/b/1.jpg", "test/unknown/1.jpg"], "src")
    assert [picture.path for picture in layout.pictures] == ["a/1.jpg", "b/1.jpg"]
    assert layout.ignored == {"unlabelled": 1}


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "cat/.hidden.jpg", ".git/x/1.jpg", "__MACOSX/cat/._1.jpg", "cat/Thumbs.db"],
)
def test_hidden_files_are_ignored(name):
    layout = read_layout(["cat/1.jpg", "dog/1.jpg", name], "src")
    assert (len(layout.pictures), layout.ignored) == (2, {"hidden": 1})


def test_folders_below_a_class_belong_to_it():
    assert paths("cat/a/1.jpg", "cat/b/1.jpg", "dog/1.JPEG") == [
        "cat/a__1.jpg",
        "cat/b__1.jpg",
        "dog/1.JPEG",
    ]


def test_two_pictures_of_one_path_are_an_error():
    with pytest.raises(LayoutError, match=r"'cat/a/1.jpg' and 'cat/a__1.jpg' .* 'cat/a__1.jpg'"):
        paths("cat/a/1.jpg", "dog/1.jpg", "cat/a__1.jpg")


def test_unicode_spaces_and_backslashes():
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    assert paths(f"{decomposed}\\1.jpg", "\u732b/\u5199\u771f 1.jpg") == [
        f"{composed}/1.jpg",
        "\u732b/\u5199\u771f 1.jpg",
    ]


def test_many_classes():
    names = [f"birds/{i:03d}.species/{j}.jpg" for i in range(200) for j in range(2)]
    assert len({p.class_name for p in read_layout(names, "src").pictures}) == 200


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"src: expected at least 2 classes.*found 0 pictures: no file at all"),
        (["README.md"], r"found 0 pictures, 1 not a picture; such as 'README.md'"),
        (["cat/1.jpg"], r"found 1 pictures; such as 'cat/1.jpg'"),
        ([f"{i}.jpg" for i in range(7)], r"7 pictures.*'0.jpg', .*'4.jpg' and 2 more"),
        (["val/a/1.jpg", "test/a/1.jpg"], r"expected one folder train.*found .*'test', 'val'"),
        (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], r"found the folders 'train', 'val'"),
        (["train/1.jpg", "test/2.jpg"], r"found 2 pictures"),
        (
            ["train/cat/1.jpg", "train/dog/1.jpg", "val/Cat/1.jpg", "val/dog/1.jpg"],
            r"folder val: expected only the classes of train \('cat', 'dog'\), found also 'Cat'",
        ),
    ],
)
def test_other_layouts_are_refused_in_one_line(names, message):
    with pytest.raises(LayoutError, match=message) as caught:
        paths(*names)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../cat/1.jpg", "cat/../../1.jpg", "/cat/1.jpg", "C:\\cat\\1.jpg"]
)
def test_unsafe_names_are_refused(name):
    with pytest.raises(SourceError, match="unsafe name"):
        paths("cat/1.jpg", "dog/1.jpg", name)


def test_name_that_is_not_unicode_is_refused():
    with pytest.raises(SourceError, match=r"'cat/\\udcff.jpg' is not valid Unicode"):
        paths("cat/\udcff.jpg", "dog/1.jpg")


def test_very_deep_folders_do_not_exhaust_the_stack():
    deep = "x/" * 5000
    assert paths(f"{deep}cat/1.jpg", f"{deep}dog/1.jpg") == ["cat/1.jpg", "dog/1.jpg"]
