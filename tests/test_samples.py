# covers: R10
"""Samples lie ready to be predicted: files as they came, the same ones every time."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pawprint.data.manifest import Picture
from pawprint.data.samples import choose_samples, write_samples


def picture(path: str, split: str, digest: str) -> Picture:
    return Picture(path, path.split("/")[0], split, digest * 64, digest * 16)


PICTURES = [
    picture("cat/3.JPG", "test", "c"),
    picture("cat/1.jpg", "test", "d"),
    picture("cat/2.jpg", "test", "e"),
    picture("cat/4.jpg", "train", "a"),
    picture("dog/1", "test", "b"),
]


def test_two_test_pictures_of_each_class_chosen_by_their_content() -> None:
    chosen = {name: one.path for name, one in choose_samples(PICTURES).items()}
    assert chosen == {"cat_1.JPG": "cat/3.JPG", "dog_1": "dog/1", "cat_2.jpg": "cat/1.jpg"}
    assert choose_samples(PICTURES[::-1]) == choose_samples(PICTURES)


def test_of_many_classes_there_are_twenty() -> None:
    many = [picture(f"{i:02d}/1.jpg", "test", "a") for i in range(50)]
    assert list(choose_samples(many)) == [f"{i:02d}_1.jpg" for i in range(20)]


def test_their_bytes_are_those_of_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for one in PICTURES:
            archive.writestr(one.path, one.path)
    write_samples(tmp_path / "images.zip", PICTURES, tmp_path)
    assert (tmp_path / "cat_1.JPG").read_text() == "cat/3.JPG"
    assert (tmp_path / "dog_1").read_text() == "dog/1"
