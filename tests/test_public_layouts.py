"""Folders as public data sets have them: each is understood, or refused for a good reason.

The layouts are those that the sets' publishers describe; the number of files is smaller.
"""
# covers: R12, B16

from __future__ import annotations

from collections import Counter

import pytest

from pawprint.runner.errors import LayoutError
from pawprint.sources.layout import read_layout


def files(*folders: str, suffix: str = ".jpg", count: int = 3) -> list[str]:
    """`count` files in each folder, numbered by folder so that no two have the same name."""
    return [f"{folder}/{n}_{i}{suffix}" for n, folder in enumerate(folders) for i in range(count)]


def cross(top: str, splits: list[str], classes: list[str]) -> list[str]:
    return [f"{top}/{split}/{name}" for split in splits for name in classes]


XRAY = [
    *files(*cross("chest_xray", ["train", "test", "val"], ["NORMAL", "PNEUMONIA"]), suffix=".jpeg")
]
FRUITS = cross("fruits-360_dataset/fruits-360", ["Training", "Test"], ["Apple Braeburn", "Apricot"])
SCENES = ["buildings", "forest", "glacier"]
INTEL = [f"seg_{split}/seg_{split}/{name}" for split in ("train", "test") for name in SCENES]
VILLAGE = [f"raw/{form}/{name}" for form in ("color", "grayscale", "segmented") for name in "AB"]

UNDERSTOOD = {
    "Dogs vs Cats": (
        [*files("test1"), *(f"train/{name}.{i}.jpg" for name in ("cat", "dog") for i in range(3))],
        {"cat": 3, "dog": 3},
        {"unlabelled": 3},
    ),
    "Microsoft PetImages": (
        [*files("PetImages/Cat", "PetImages/Dog"), "PetImages/Cat/Thumbs.db", "readme[1].txt"],
        {"Cat": 3, "Dog": 3},
        {"hidden": 1, "not a picture": 1},
    ),
    "Intel Image Classification": (
        files(*INTEL, "seg_pred/seg_pred"),
        {f"{split}/{name}": 3 for split in ("train", "test") for name in SCENES},
        {"in 'seg_pred', which is set aside": 3},
    ),
    "Chest X-Ray Pneumonia, twice in itself": (
        [*XRAY, *(f"chest_xray/{x}" for x in XRAY), *(f"chest_xray/__MACOSX/{x}" for x in XRAY)],
        {f"{s}/{c}": 3 for s in ("train", "test", "val") for c in ("NORMAL", "PNEUMONIA")},
        {"hidden": 18, "in 'chest_xray/chest_xray', which is set aside": 18},
    ),
    "Fruits-360": (
        [
            *files(*FRUITS, "fruits-360_dataset/fruits-360/test-multiple_fruits"),
            *("fruits-360_dataset/fruits-360/papers/1.pdf", "fruits-360_dataset/LICENSE"),
        ],
        {f"{s}/{c}": 3 for s in ("train", "test") for c in ("Apple Braeburn", "Apricot")},
        {
            "in 'fruits-360_dataset/fruits-360/test-multiple_fruits', which is set aside": 3,
            "not a picture": 2,
        },
    ),
    "flower_photos": (
        [*files("flower_photos/daisy", "flower_photos/roses"), "flower_photos/LICENSE.txt"],
        {"daisy": 3, "roses": 3},
        {"not a picture": 1},
    ),
    "CIFAR-10 as PNG": (
        [*files(*cross("cifar", ["train", "test"], ["frog", "ship"]), suffix=".png"), "labels.txt"],
        {f"{s}/{c}": 3 for s in ("train", "test") for c in ("frog", "ship")},
        {"not a picture": 1},
    ),
    "Caltech-101": (
        [
            *files("101_ObjectCategories/ant", "101_ObjectCategories/BACKGROUND_Google"),
            *files("Annotations/ant", suffix=".mat"),
        ],
        {"ant": 3, "BACKGROUND_Google": 3},
        {"not a picture": 3},
    ),
    "Food-101": (
        [*files("food-101/images/pizza", "food-101/images/ramen"), "food-101/meta/test.txt"],
        {"pizza": 3, "ramen": 3},
        {"not a picture": 1},
    ),
    "Imagenette": (
        [
            *files(*cross("imagenette2", ["train", "val"], ["n01440764", "n02102040"])),
            "imagenette2/noisy_imagenette.csv",
        ],
        {f"{s}/{c}": 3 for s in ("train", "val") for c in ("n01440764", "n02102040")},
        {"not a picture": 1},
    ),
    "GTSRB": (
        files(
            *("GTSRB/Final_Training/Images/00000", "GTSRB/Final_Training/Images/00001"),
            "GTSRB/Final_Test/Images",
            suffix=".ppm",
        ),
        {"00000": 3, "00001": 3},
        {"unlabelled": 3},
    ),
    "GTSRB of Kaggle": (
        [*files("Train/0", "Train/1", "Test", "Meta", suffix=".png"), "Meta.csv"],
        {"0": 3, "1": 3},
        {"in 'Meta', which is set aside": 3, "not a picture": 1, "unlabelled": 3},
    ),
    "EuroSAT": (files("2750/Forest", "2750/River"), {"Forest": 3, "River": 3}, {}),
    "Animals-10": (
        [*files("raw-img/cane", "raw-img/gatto", suffix=".jpeg"), "translate.py"],
        {"cane": 3, "gatto": 3},
        {"not a picture": 1},
    ),
    "ASL Alphabet": (
        [
            *files(
                "asl_alphabet_train/asl_alphabet_train/A", "asl_alphabet_train/asl_alphabet_train/B"
            ),
            "asl_alphabet_test/asl_alphabet_test/A_test.jpg",
        ],
        {"A": 3, "B": 3},
        {"unlabelled": 1},
    ),
    "Tiny ImageNet": (
        files("t/train/n01/images", "t/train/n02/images", "t/val/images", "t/test/images"),
        {"n01": 3, "n02": 3},
        {"unlabelled": 6},
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_public_data_set_is_understood(name):
    names, classes, ignored = UNDERSTOOD[name]
    layout = read_layout(names, name)
    assert Counter(picture.path.rpartition("/")[0] for picture in layout.pictures) == classes
    assert layout.ignored == ignored


REFUSED = {
    "PlantVillage in three forms": (
        files(*VILLAGE),
        r"'color', 'grayscale', 'segmented', which seem to hold the same .* name one of them",
    ),
    "CUB-200 with its segmentations": (
        files("CUB/images/001.A", "CUB/images/002.B", "segmentations/001.A", "segmentations/002.B"),
        r"'CUB', 'segmentations', which seem to hold the same pictures in several forms",
    ),
    "Oxford-IIIT Pets": (
        [*files("images"), *files("annotations/trimaps", suffix=".png")],
        r"'annotations', 'images', which seem to hold the same pictures",
    ),
    "MVTec AD": (
        files(
            *("bottle/train/good", "bottle/test/good", "bottle/test/broken_large"),
            "bottle/ground_truth/broken_large",
            suffix=".png",
        ),
        r"'test', 'train', which differ only in the word of a split",
    ),
    "Market-1501": (
        files("Market/bounding_box_train", "Market/bounding_box_test", "Market/query"),
        r"'bounding_box_test', 'bounding_box_train', which differ only",
    ),
    "ISIC 2018": (
        files(*(f"ISIC2018_Task3_{x}_Input" for x in ("Training", "Test", "Validation"))),
        r"'ISIC2018_Task3_Test_Input', .*, which differ only",
    ),
    "a YOLO export": (
        [*files("train/images", "valid/images"), *files("train/labels", suffix=".txt")],
        r"expected at least 2 classes.*found 6 pictures, 3 not a picture; such as 'train/images/",
    ),
    "UrbanSound's folds, as spectrograms": (
        files("fold1/siren", "fold1/drill", "fold2/siren", "fold2/drill"),
        r"'fold1', 'fold2', each of which has the folders 'drill', 'siren': put the pictures of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_public_data_set_is_refused_with_a_way_out(name):
    names, message = REFUSED[name]
    with pytest.raises(LayoutError, match=message) as caught:
        read_layout(names, name)
    assert "\n" not in str(caught.value)
