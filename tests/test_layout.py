# covers: R11, R12, C2
from __future__ import annotations

from collections import Counter

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


def test_a_class_may_be_called_train_and_is_named():
    layout = read_layout(["train/1.jpg", "car/1.jpg"], "src")
    assert [picture.path for picture in layout.pictures] == ["car/1.jpg", "train/1.jpg"]
    assert layout.notes == [
        "warning: 'train', beside 'car', is read as a class: if it is a split, move the pictures "
        "to train/CLASS and test/CLASS"
    ]
    assert counts(folders("valid", "invalid"))[2] == []


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


# Divisions as people have them


def folders(*names: str, count: int = 2) -> list[str]:
    """`count` pictures in each folder; those of different folders have different names."""
    return [f"{name}/{n}_{i}.jpg" for n, name in enumerate(names) for i in range(count)]


def counts(names: list[str]) -> tuple[dict[str, int], dict[str, int], list[str]]:
    layout = read_layout(names, "src")
    found = Counter(picture.path.rpartition("/")[0] for picture in layout.pictures)
    return dict(found), layout.ignored, layout.notes


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training Set", "Holdout"),
        ("bird_train", "bird_test"),
        ("trainImages", "evalImages"),
        ("TRAIN2020", "DEV2020"),
        ("01 training", "02 validation"),
    ],
)
def test_division_beside_other_folders(train, test):
    found, ignored, notes = counts(
        folders(*(f"x/{split}/{name}" for split in (train, test) for name in "ab"), "x/one photo")
    )
    assert sum(found.values()) == 8
    assert {path.split("/")[0] for path in found} in ({"train", "test"}, {"train", "val"})
    assert ignored == {"in 'x/one photo', which is set aside": 2}
    assert notes == ["set aside: 'x/one photo' (2 pictures) is none of train, val, test"]


def test_classes_whose_names_contain_those_of_splits():
    names = ["contest", "strain", "latest", "device", "trainer"]
    assert counts(folders(*names)) == (dict.fromkeys(names, 2), {}, [])


def test_bullet_train_and_crash_test_are_classes():
    assert set(counts(folders("bullet train", "crash test", "tram"))[0]) == {
        *("bullet train", "crash test", "tram")
    }


def test_valid_and_invalid_are_classes():
    assert set(counts(folders("valid", "invalid", "unsure"))[0]) == {"valid", "invalid", "unsure"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cow", "pig", "test"], r"found 'test' beside 'cow', 'pig': rename .* 'class_test'"),
        (["train/cow", "train/pig", "more"], r"found 'train' beside 'more'"),
        (["cow", "pig", "test/cow", "test/pig"], r"'cow', 'pig' beside 'test', .* a folder train"),
        (
            [f"{split}/{name}" for split in ("train", "val", "valid") for name in ("cow", "pig")],
            r"'train', 'val', 'valid', of which 'val', 'valid' mean val: rename, merge or remove",
        ),
        (
            ["train/train/cow", "train/train/pig", "train/test/cow", "test/cow"],
            r"expected one folder test, found 'train/test' and 'test' with other pictures",
        ),
    ],
)
def test_unclear_divisions_are_refused(names, message):
    with pytest.raises(LayoutError, match=message) as caught:
        counts(folders(*names))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inner", ["all/all", "all/train", "all/copy/train"])
def test_whole_set_within_itself_counts_once(inner):
    names = folders("cow", "pig")
    found, ignored, notes = counts([*(f"all/{x}" for x in names), *(f"{inner}/{x}" for x in names)])
    assert found == {"cow": 2, "pig": 2}
    folder = "/".join(inner.split("/")[:2])
    assert ignored == {f"in {folder!r}, which is set aside": 4}
    assert notes == [f"set aside: {folder!r} (4 pictures) holds the set once more"]


def test_train_that_holds_the_whole_division_again():
    whole = folders("train/cow", "train/pig", "test/cow", "test/pig")
    again = [f"train/set/{name}" for name in whole]
    assert counts([*whole, *again])[0] == dict.fromkeys(
        ["test/cow", "test/pig", "train/cow", "train/pig"], 2
    )


def test_same_names_of_other_sizes_are_no_copy():
    names = ["cow/1.jpg", "pig/1.jpg", "more/cow/1.jpg", "more/pig/1.jpg"]
    assert len(read_layout(names, "src", sizes=[5, 6, 5, 6]).pictures) == 2
    with pytest.raises(LayoutError, match=r"beside 'more', which has such .* with other pictures"):
        read_layout(names, "src", sizes=[5, 6, 5, 7])


def test_validation_within_train_and_test_beside_it():
    found, _, _ = counts(
        folders("train/train/a", "train/train/b", "train/val/a", "train/val/b", "test/a", "test/b")
    )
    assert set(found) == {f"{split}/{name}" for split in ("train", "val", "test") for name in "ab"}


def test_flat_test_folder_is_set_aside_by_name():
    found, ignored, notes = counts(folders("train/a", "train/b", "val/a", "val/b", "Test/Test"))
    assert set(found) == {"train/a", "train/b", "val/a", "val/b"}
    assert ignored == {"unlabelled": 2}
    assert notes == ["set aside: 'Test' (2 pictures) has no folders of classes"]


def test_classes_that_a_split_lacks_are_named():
    names = folders("train/a", "train/b", "train/c", "val/a", "val/b", "test/a")
    assert counts(names)[2] == ["val has no pictures of 'c'", "test has no pictures of 'b', 'c'"]


def test_division_within_classes_is_kept():
    found, ignored, notes = counts(
        folders("a/train", "a/val", "a/test", "b/Training", "b/Testing", "a/sketches")
    )
    assert found == dict.fromkeys(["train/a", "val/a", "test/a", "train/b", "test/b"], 2)
    assert ignored == {"in 'a/sketches', which is set aside": 2}
    assert notes[-1] == "val has no pictures of 'b'"


@pytest.mark.parametrize("other", ["b", "b/test"])
def test_division_within_some_classes_only_is_refused(other):
    with pytest.raises(LayoutError, match=r"one folder train.* found 'b' with pictures outside"):
        counts(folders("a/train", "a/test", other))


def test_masks_beside_pictures_are_refused():
    with pytest.raises(
        LayoutError,
        match=r"in 'a', 'b' subfolders .*\('images' 4, 'masks' 4 pictures\): remove 'masks'",
    ):
        counts(folders("a/images", "a/masks", "b/images", "b/masks"))


def test_thumbnails_beside_pictures_of_a_division_are_refused():
    names = [f"{split}/{name}" for split in ("train", "test") for name in "ab"]
    with pytest.raises(LayoutError, match=r"remove 'thumbnails'"):
        counts(folders(*names, *(f"{name}/Thumbnails" for name in names)))


def test_images_alone_are_wrappers():
    assert counts(folders("a/images", "b/images")) == ({"a": 2, "b": 2}, {}, [])


def test_subfolders_by_date_are_counted():
    found, _, notes = counts(folders("a/2019", "a/2020", "b/2021", "b"))
    assert found == {"a": 4, "b": 4}
    assert notes == [
        "subfolders: '2019' 2, '2020' 2, '2021' 2 pictures, in 'a', 'b': each picture is of the "
        "class of the outer folder"
    ]


def test_subfolders_of_several_classes_are_explained():
    found, _, notes = counts(folders("a/left", "a/right", "b/left", "b/right"))
    assert found == {"a": 4, "b": 4}
    assert notes[0].endswith("of the outer folder; if the inner folders are the classes, swap them")


# What the names do not tell


def test_folder_without_pictures_is_named():
    names = [*folders("x/a", "x/b"), "x/c/1.xml", "x/c/2.xml", "x/notes.txt"]
    assert counts(names)[1:] == (
        {"not a picture": 3},
        ["no class: 'x/c' has no picture, only 2 not a picture"],
    )


def test_folder_of_links_is_named():
    layout = read_layout(folders("a", "b"), "src", links=["c/1.jpg", "d/*"])
    assert layout.notes == [
        "no class: 'c' has no picture, only 1 symbolic link",
        "no class: 'd' has no picture, only 1 symbolic link",
    ]


def test_a_folder_without_a_file_is_named():
    empty = ["x/c/", "x/d", "x/d/e/", "x/a", "x/a/sub", "x", ".", "./", "", "x/.git/refs", "../up"]
    layout = read_layout(folders("x/a", "x/b"), "src", folders=empty)
    assert layout.notes == ["no class: 'x/c' has no file", "no class: 'x/d' has no file"]


def test_a_folder_with_hidden_files_alone_is_named():
    names = [*folders("a", "b"), "c/.DS_Store", "c/@eaDir/1.jpg", "a/.DS_Store", ".DS_Store"]
    layout = read_layout(names, "src", folders=["c"])
    assert layout.notes[-1] == "no class: 'c' has no picture, only 2 hidden"


def test_a_class_that_a_split_has_as_an_empty_folder_is_named_for_it():
    names = folders("train/a", "train/b", "val/a")
    notes = read_layout(names, "src", folders=["val/b"]).notes
    assert notes == ["val has no pictures of 'b'", "no class: 'val/b' has no file"]


def test_a_copy_of_the_set_has_pictures_whatever_else_is_in_it():
    names = folders("cow", "pig")
    names += [*(f"all/{name}" for name in names), "all/notes.txt"]
    layout = read_layout(names, "src", folders=["all", "all/cow", "cow"])
    assert layout.notes == ["set aside: 'all' (4 pictures) holds the set once more"]


def test_what_has_one_class_names_the_empty_folders_too():
    with pytest.raises(LayoutError, match=r"such as 'cat/1.jpg'; empty folders: 'dog', 'x/owl'$"):
        read_layout(["cat/1.jpg"], "src", folders=["dog", "cat", "x", "x/owl"][::-1])


@pytest.mark.parametrize(
    "spellings",
    [
        ("Cat", "cat"),
        ("hot dog", "hot_dog"),
        ("hot-dog", "Hot Dog", "hotdog"),
        ("cat ", "cat"),
        ("_cat", "cat"),
        ("\uff23\uff41\uff54", "Cat"),  # wide letters
        ("cat\u200b", "cat"),  # a space without a width
        ("type 1", "type_1"),
        ("ÄRGER", "ärger"),
    ],
)
def test_classes_of_nearly_one_name_are_refused(spellings):
    shown = ", ".join(repr(name) for name in sorted(spellings))
    with pytest.raises(LayoutError, match="expected each class under one name") as caught:
        counts(folders("owl", *spellings))
    assert f"found {shown}, which differ only in upper and lower case, in what" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_spellings_of_prefixes_and_of_splits_are_refused_too():
    with pytest.raises(LayoutError, match="found 'Cat', 'cat', which differ only"):
        paths("cat.0.jpg", "Cat.1.jpg", "dog.0.jpg")
    with pytest.raises(LayoutError, match="found 'Cat', 'cat', which differ only"):
        paths("cat/train/1.jpg", "cat/test/1.jpg", "Cat/train/1.jpg", "Cat/test/2.jpg")
    many = [name for i in range(5) for name in (f"class{i}", f"Class{i}")]
    with pytest.raises(LayoutError, match=r"'Class0', 'class0'; .* and 2 more such, which"):
        counts(folders(*many))


@pytest.mark.parametrize(
    "names",
    [
        ("A", "a", "B", "b"),  # letters, by hand
        ("1_1", "11", "1 11"),
        ("v1_0", "v10"),
        ("a b", "ab"),
        ("Masse", "Maße"),
        ("n", "ñ"),
    ],
)
def test_names_that_differ_in_more_are_classes(names):
    assert set(counts(folders(*names))[0]) == set(names)


@pytest.mark.parametrize(
    "names",
    [
        ("IMG.2024.0.jpg", "IMG.2025.0.jpg"),
        ("IMG_0001.1.jpg", "IMG_0002.1.jpg"),
        ("IMG.1.jpg", "DSC.1.jpg"),
        ("photo.1.jpg", "image.1.jpg"),
        ("photo1.1.jpg", "photo2.1.jpg"),
        ("frame_1.0.png", "frame_2.0.png"),
        ("PXL_20240101_101010123.0.jpg", "PXL_20240102_101010123.0.jpg"),
        ("Screenshot 2024-01-01 at 10.15.30.png", "Screenshot 2024-01-01 at 10.16.30.png"),
        ("Bildschirmfoto 2024-01-01 um 10.15.30.png", "Bildschirmfoto 2024-01-02 um 9.16.30.png"),
        ("2024.01.15.jpg", "2024.02.16.jpg"),
        ("2023.1.jpg", "2024.1.jpg"),
        ("P1010001.0.jpg", "P1010002.0.jpg"),
        ("clip1.0001.png", "clip2.0001.png"),
        ("seq01.0.jpg", "seq02.0.jpg"),
        ("page1.1.png", "page2.1.png"),
        ("patient1.0.png", "patient2.0.png"),
        ("rgb.0.png", "mask.0.png"),
        ("rgb.0.png", "depth.0.png"),
        ("train.0.jpg", "val.0.jpg", "test.0.jpg"),
        ("train_cat.0.jpg", "train_dog.0.jpg", "test_cat.0.jpg"),
        ("trip 04.03.jpg", "trip 05.03.jpg", "trip 05.12.jpg"),
        ("KA.AN1.39.tiff", "KA.AN1.40.tiff", "KA.HA2.41.tiff", "KA.SA1.42.tiff"),
        ("cat.2023.0.jpg", "cat.2024.0.jpg", "dog.2024.0.jpg"),
        ("cat.0.jpg", "dog.0.jpg", "IMG_1234.0.jpg"),
    ],
)
def test_what_cameras_put_before_a_number_is_no_class(names):
    with pytest.raises(LayoutError, match=r"instead of a class: .*: put the pictures") as caught:
        paths(*names)
    assert "of them begin with a camera's name, a number or a date" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert paths(*(f"{name[0]}{i}/{name}" for i, name in enumerate(names)))  # folders tell


def test_a_stray_picture_of_a_camera_among_named_ones_is_named():
    with pytest.raises(LayoutError, match=r"; 1 of them begin .* class: 'IMG_1234.0.jpg': put"):
        paths("cat.0.jpg", "dog.0.jpg", "IMG_1234.0.jpg")


@pytest.mark.parametrize(
    "names",
    [
        ("photo", "sketch"),
        ("screenshot", "photo"),
        ("type1", "type2"),
        ("bmw2019", "bmw2020"),
        ("no_mask", "mask"),
        ("train", "bus"),
        ("n01440764", "n02102040"),
        ("image_of_cat", "image_of_dog"),
        ("SKU1234", "SKU1235"),
        ("\u732b", "\u72ac"),
    ],
)
def test_prefixes_that_say_more_are_classes(names):
    assert len(paths(*(f"{name}.0.jpg" for name in names))) == len(names)


def test_pictures_of_a_camera_beside_the_folder_of_classes_hide_nothing():
    layout = read_layout(["IMG.1.1.jpg", "IMG.2.1.jpg", *folders("data/cat", "data/dog")], "src")
    assert {picture.class_name for picture in layout.pictures} == {"cat", "dog"}
    assert layout.ignored == {"unlabelled": 2}


def test_thumbs_may_be_a_class_and_small_copies_are_none():
    found, ignored, notes = counts(folders("fist", "palm", "thumbs"))
    assert (found, ignored) == ({"fist": 2, "palm": 2, "thumbs": 2}, {})
    assert notes == [
        "warning: 'thumbs', beside 'fist', 'palm', is read as a class: remove it if it has small "
        "copies of the pictures"
    ]
    assert counts([*folders("a", "b"), "a/.thumbs/1.jpg", "b/Thumbs.db"])[0] == {"a": 2, "b": 2}
    with pytest.raises(LayoutError, match="'Thumbs', beside 'a', 'b', which seem to hold what is"):
        counts([*folders("a", "b"), "Thumbs/0_0.jpg", "Thumbs/1_1.jpg"])
    for copies in (["a/thumbs/0_0.jpg"], ["a/thumbs/x.jpg", "b/thumbs/y.jpg"]):
        with pytest.raises(LayoutError, match=r"subfolders that seem .* remove 'thumbs'"):
            counts([*folders("a", "b"), *copies])


def test_recycled_waste_is_a_class():
    assert set(counts(folders("recycled", "recycler", "Recycler 2"))[0]) == {
        *("recycled", "recycler", "Recycler 2")
    }


def test_archives_beside_classes_are_named():
    names = [*folders("cat", "dog"), "bird.zip", "cat/more.tar.gz", ".cache/x.zip", "notes.txt"]
    assert counts(names)[1:] == (
        {"hidden": 1, "not a picture": 3},
        ["not read: 'bird.zip', 'cat/more.tar.gz': unpack what has pictures of the set"],
    )


def test_folders_of_systems_that_pictures_are_in_are_named():
    names = [*folders("a", "b"), "a/@eaDir/1.jpg", "b/@eaDir/2.jpg", "RECYCLER/S-1-5/1.jpg"]
    assert counts([*names, ".git/config", "__MACOSX/a/._1.jpg", "a/.2.jpg"])[1:] == (
        {"hidden": 6},
        ["not read, since a system made the folder: '@eaDir' 2, 'RECYCLER' 1 pictures"],
    )


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/a/1.jpg", "a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/1.jpg"),
        *("System Volume Information/1.jpg", "lost+found/1.jpg", ".Trash-1000/files/1.jpg"),
        *("#recycle/a/1.jpg", "@Recycle/1.jpg", ".svn/1.jpg", ".AppleDouble/1.jpg"),
        *("FOUND.000/FILE0001.JPG", "found.012/1.jpg", "LOST.DIR/1.jpg", "RECYCLED/1.jpg"),
        *(".thumbnails/1.jpg", "a/.picasaoriginals/1.jpg", ".dtrash/files/1.jpg"),
        *(".stversions/a/1.jpg", ".TemporaryItems/1.jpg", ".fseventsd/1.jpg"),
        *("My Catalog Previews.lrdata/0/1.jpg", "My Catalog.lrcat-data/1.jpg"),
        *("Photos Library.photoslibrary/originals/0/1.jpeg", "old.photolibrary/1.jpg"),
        *("x.migratedphotolibrary/Thumbnails/1.jpg", "Mine.aplibrary/1.jpg"),
        *("a/_vti_cnf/1.jpg", "__pycache__/1.jpg", "#snapshot/a/1.jpg", "Temporary Items/1.jpg"),
        *("a/.ipynb_checkpoints/1-checkpoint.jpg", "a/desktop.ini", "__MACOSX/a/._1.jpg"),
    ],
)
def test_what_systems_put_there_is_no_class(name):
    assert counts([*folders("a", "b"), name])[:2] == ({"a": 2, "b": 2}, {"hidden": 1})


@pytest.mark.parametrize("name", ["a/1.JPG", "a/1.jpg?w=200&h=100", "a/1.jpg.1", "a/1.jpeg#x"])
def test_names_that_claim_a_picture_with_something_behind(name):
    assert counts([name, *folders("b", "c")])[0] == {"a": 1, "b": 2, "c": 2}


# What looks like classes, but holds them


def grid(*levels: str) -> list[str]:
    names = [""]
    for level in levels:
        names = [f"{outer}/{inner}".lstrip("/") for outer in names for inner in level.split()]
    return names


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (grid("split1 split2", "train test", "ox elk"), "'split1', 'split2'.* 'elk', 'ox'"),
        (grid("cv_a cv_b", "train val"), "'cv_a', 'cv_b'.* 'train', 'val'"),
        (grid("shop/images web/images", "lamp sofa"), "'shop', 'web'.* 'lamp', 'sofa'"),
        (grid("set1 set2", "ox elk"), "'set1', 'set2'.* 'elk', 'ox'"),
        ([*grid("fold1", "ox elk"), *grid("fold2", "ox elk yak")], "'fold1', 'fold2'.* 'elk'"),
        (grid("train train_aug", "ox elk"), "'train', 'train_aug'.* forms"),
        ([*grid("labeled", "ox elk"), "unlabeled"], "'unlabeled' beside 'labeled'"),
        (grid("1 2 3", "ox elk"), "'1', '2', '3'.* 'elk', 'ox'"),
        (grid("rps rps-test-set", "rock paper"), "if they are splits, rename them train and test"),
        (grid("Training Validierung", "ox elk"), "splits, rename them train and test; if the out"),
        (grid("train vaild", "ox elk"), "if they are splits, rename them train and test"),
        (grid("part_1001 part_1002", "ox elk"), "'part_1001', 'part_1002', each of which has"),
        (grid("64x64 96x96", "ox elk"), "'64x64', '96x96'.* 'elk', 'ox'"),
        (["skin_images_part_1", "skin_images_part_2"], "'skin_images_part_1',.* parts of one"),
        (["images_001/images", "images_002/images"], "'images_001',.* parts of one"),
        (["trainA", "trainB", "testA", "testB"], "'testA', 'testB', .* parts of one"),
        (["JPEGImages", "SegmentationClass"], "'JPEGImages', 'SegmentationClass'.* forms"),
        (grid("leftImg8bit gtFine", "train val", "bern graz"), "'gtFine', 'leftImg8bit'.* forms"),
        (["imgs", "mask_png"], "'imgs', 'mask_png'.* forms"),
        (grid("train test", "input target"), "'input', 'target'.* forms"),
        (grid("train_clean train_noisy test", "ox elk"), "'train_clean', 'train_noisy' mean train"),
        ([*grid("train", "ox elk"), "test/Elk"], "folder test: .* found also 'Elk'"),
        ([*grid("train", "train val", "ox elk"), "test/Elk"], "folder test: .* also 'Elk'"),
    ],
)
def test_parts_and_forms_of_a_set_are_no_classes(names, found):
    with pytest.raises(LayoutError, match=found) as caught:
        counts(folders(*names))
    message = str(caught.value)
    assert "\n" not in message
    assert "data.folder=ONE_OF_THEM" in message or "rename" in message


@pytest.mark.parametrize("made", ["1_mask.png", "1-seg.jpg", "1 GT.png", "1_mask_2.png"])
def test_masks_in_the_folder_of_their_pictures_are_refused(made):
    with pytest.raises(LayoutError, match=rf"found 1 files .* such as 'ox/{made}': move them"):
        paths("ox/1.jpg", "elk/1.jpg", f"ox/{made}")
    assert len(paths("ox/2.jpg", "elk/1.jpg", f"ox/{made}")) == 3
    with pytest.raises(LayoutError, match="found 1 files"):
        paths("ox/ox (1).png", "ox/ox (1)_mask.png", "elk/1.jpg")


@pytest.mark.parametrize(
    "names",
    [
        ["with_mask", "without_mask"],
        ["button", "image", "label"],
        ["sunset1", "sunset2"],
        ["type1", "type2"],
        ["part_1001", "part_1002"],
        ["0", "1"],
        ["camera_a", "camera_b"],
        ["images", "sets", "days"],
        grid("ox elk", "2019-05 2020-11"),
        grid("0 1", "cam1 cam2"),
        [*grid("pet", "cat dog"), *grid("farm", "cow pig")],
    ],
)
def test_ordinary_classes_stay_classes(names):
    assert set(counts(folders(*names))[0]) == {name.split("/")[0] for name in names}


def test_divided_classes_with_folders_of_cameras_stay_classes():
    found = counts(folders(*grid("ox elk", "train test", "cam1 cam2")))[0]
    assert found == dict.fromkeys(grid("train test", "ox elk"), 4)


def test_one_class_in_test_beside_a_divided_train():
    found, _, notes = counts(folders(*grid("train", "train val", "ox elk"), "test/ox"))
    assert found["test/ox"] == 2
    assert notes == ["test has no pictures of 'elk'"]


# Folders of unlike kinds side by side


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (grid("train_ox train_elk test_ox test_elk"), "'test_elk', 'test_ox', 'train_elk', 't"),
        (grid("ox_train ox_test elk_train elk_test yak"), "'elk_test', 'elk_train', 'ox_test', '"),
        (grid("OxTrain OxTest ElkTrain ElkTest"), "'ElkTest', 'ElkTrain', 'OxTest', 'OxTrain'"),
        (grid("training_fake training_real testing_fake"), "'testing_fake', 'training_fake', wh"),
        (grid("ox_train ox_val elk"), "'ox_train', 'ox_val', which"),
        (grid("cars_train cars_test"), "'cars_test', 'cars_train', which"),
        (grid("ships_train ships_test", "images"), "'ships_test', 'ships_train', which"),
        (grid("train test train_masks"), "'test', 'train', which"),
        (["train/good", *grid("test ground_truth", "good bent")], "'test', 'train', which"),
    ],
)
def test_names_that_differ_in_the_word_of_a_split_are_no_classes(names, found):
    with pytest.raises(LayoutError, match=found) as caught:
        counts(folders(*names))
    message = str(caught.value)
    assert "differ only in the word of a split: move the pictures to train/CLASS" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "names",
    [
        ["drug test", "pregnancy test", "eye test"],
        ["freight train", "passenger train", "bus"],
        ["test tube", "beaker", "flask"],
    ],
)
def test_classes_with_the_word_of_a_split_stay_classes(names):
    assert set(counts(folders(*names))[0]) == set(names)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([*grid("N/N", "train valid", "ox elk"), "test/test"], "'N' with .* beside 'test': use"),
        (
            [*grid("a-master", "ox elk"), *grid("b-master", "TRAIN TEST", "ox elk")],
            r"'b-master' with .*, beside 'a-master': use -S data.folder=\.\.\./b-master$",
        ),
        (
            [*grid("casting_data", "train test", "ox elk"), *grid("casting_512x512", "ox elk")],
            "'casting_data' with .* beside 'casting_512x512'",
        ),
        (
            [
                *grid("data1a", "training validation", "damage whole"),
                *grid("data2a", "training validation", "front rear tail"),
            ],
            "'data1a', 'data2a' with folders of splits .*: use -S data.folder=ONE_OF_THEM",
        ),
        (
            [*grid("toons_dataset", "ox elk"), "new_toons_testset/new_toons_testset"],
            r"'toons_dataset' with folders in them \('elk', 'ox'\), beside 'new_toons_testset'",
        ),
        ([*grid("repo-main/dataset", "ox elk"), "repo-main/docs"], "/repo-main/dataset, or rename"),
        ([*grid("animals", "ox elk"), "figures"], "'animals' .* beside 'figures'"),
        ([*grid("images", "ox elk"), *grid("farm", "cow pig")], "'farm', 'images' with folders"),
        ([*grid("zoo-main", "ox elk"), "farm"], "'zoo-main' with .* beside 'farm'"),
        ([*grid("DATA", "0 1"), "TEST"], r"'DATA' with .* \('0', '1'\), beside 'TEST'"),
        ([*grid("animals", "ox elk"), "animals_test"], "'animals' .* beside 'animals_test'"),
    ],
)
def test_a_folder_that_holds_a_set_is_no_class(names, found):
    with pytest.raises(LayoutError, match=found) as caught:
        counts(folders(*names))
    assert "-S data.folder=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_folders_beside_one_without_is_named():
    found, _, notes = counts(folders(*grid("pets", "cat dog"), "cow"))
    assert found == {"pets": 4, "cow": 2}
    assert notes[0] == (
        "warning: found 'pets' with folders in them ('cat', 'dog'), beside 'cow'; each of the "
        "outer folders is read as a class; if the inner ones are the classes, use -S "
        "data.folder=.../pets"
    )
    for harmless in (grid("ox", "2019 2020"), grid("ox", "left right"), ["ox"]):
        assert not any("warning" in note for note in counts(folders(*harmless, "elk"))[2])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (folders("good", "bad", "ground_truth"), "'ground_truth', beside 'bad', 'good'"),
        (folders("ox", "elk", "masks"), "'masks', beside 'elk', 'ox'"),
        (folders("ox", "elk", "Annotations"), "'Annotations', beside 'elk', 'ox'"),
        (folders("ox", "elk", "SegmentationClass"), "'SegmentationClass', beside 'elk', 'ox'"),
        (folders("ox-images", "ox-masks", "elk-images", "elk-masks"), "'elk-masks', 'ox-masks', b"),
        (folders("ox", "elk", "elk_masks"), "'elk_masks', beside 'elk', 'ox'"),
        (folders("images", "mask", "1st_manual"), "'mask', beside '1st_manual', 'images'"),
        (folders("train/ox", "train/elk", "train/masks", "test/ox"), "'masks', beside"),
        (["ox/1.jpg", "elk/2.jpg", "mask/1.png", "mask/2_mask.png"], "'mask', beside"),
        (["ox/a.jpg", "ox/b.jpg", "overlay/a.png"], "'overlay', beside 'ox'"),
    ],
)
def test_what_is_made_from_the_pictures_is_no_class(names, found):
    with pytest.raises(LayoutError, match=found) as caught:
        counts(names)
    assert "made from the others' pictures: move them elsewhere, or rename" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "warned"),
    [
        (folders("mask", "no_mask"), False),
        (folders("with_mask", "without_mask", "masked"), False),
        (folders("face", "face_mask"), False),
        (["mask/a.jpg", "no mask/a.jpg"], False),
        # masks to wear, it seems: but nobody knows
        (folders("mask", "helmet", "hat"), True),
        (folders("masks", "helmets", "hats"), True),
        (["mask/1.jpg", "hat/1.jpg"], True),
        (["mask/1.jpg", "hat/1.jpg", "cap/1.jpg"], True),
    ],
)
def test_classes_with_the_word_of_a_form_stay_classes(names, warned):
    found, _, notes = counts(names)
    assert set(found) == {name.split("/")[0] for name in names}
    assert [note.startswith("warning: 'mask") for note in notes] == [True] * warned


@pytest.mark.parametrize("name", ["images", "docs", "results", "unlabeled", "old_dataset"])
def test_a_class_of_such_a_name_is_named(name):
    found, _, notes = counts(folders("open", "shut", name))
    assert set(found) == {"open", "shut", name}
    assert notes == [
        f"warning: {name!r}, beside 'open', 'shut', is read as a class: move it elsewhere if it is "
        "none"
    ]
    assert counts(folders("cat_dataset", "dog_dataset"))[2] == []


def test_forms_that_may_be_classes_are_told_by_the_names_of_their_pictures():
    for pair in (["color", "gray"], ["raw", "processed"], ["source", "target"]):
        found, _, notes = counts(folders(*pair))
        assert set(found) == set(pair)
        assert "are read as classes: if they are forms of the same pictures" in notes[0]
        with pytest.raises(LayoutError, match="seem to hold the same pictures in several forms"):
            paths(*(f"{name}/{i}.jpg" for name in pair for i in range(2)))


@pytest.mark.parametrize("name", ["masks", "mask", "segmented"])
def test_a_folder_named_as_what_is_made_from_pictures_is_a_class_with_a_warning(name: str) -> None:
    found, _, notes = counts(folders("cats", "dogs", name))
    assert set(found) == {"cats", "dogs", name}
    warning = f"warning: {name!r}, beside 'cats', 'dogs', is read as a class: move it elsewhere"
    assert any(note.startswith(warning) for note in notes)
