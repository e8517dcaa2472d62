"""Decoding a whole manifest: every good picture once, every bad one reported."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from pawprint.data import decoding, preprocess
from pawprint.data.datasets import read_class_names, read_labelled_images
from pawprint.data.manifest import Picture, read_archive_index
from pawprint.data.preprocess import preprocess_pictures
from pawprint.pictures.images import decode_image
from pawprint.pictures.squares import FILL
from pawprint.runner.errors import DataError, PawprintError
from pawprint.runner.journal import map_shards
from pawprint.runner.params import PreprocessParams

# covers: B5, R5, R11, B1

HTML = b"<html>404 Not Found</html>"


SIDE_PX = 32


def params(max_bad: float = 0.5) -> PreprocessParams:
    return PreprocessParams(
        image_size=SIDE_PX, resize="stretch", max_bad=max_bad, max_pixels=1_000_000, max_value=0
    )


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def write_archive(path: Path, contents: dict[str, bytes]) -> list[Picture]:
    """An archive and its manifest: each class's pictures go to train, val and test in turn."""
    with ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    rows = read_archive_index(path)
    splits = ("train", "val", "test")
    return [replace(row, split=splits[i % 3]) for i, row in enumerate(rows)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "images.zip"


def good_pictures() -> dict[str, bytes]:
    return {f"{name}/{i}.png": png(10 * i) for name in ("Käfer", "dog") for i in range(6)}


def read_quarantine(out: Path) -> list[dict[str, str]]:
    with open(out / "quarantine.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def processed_bytes(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.*"))}


def test_every_picture_arrives_with_its_label_and_name(archive: Path, tmp_path: Path) -> None:
    rows = write_archive(archive, good_pictures())
    good = preprocess_pictures(archive, rows, SIDE_PX, params(), tmp_path / "out")
    assert good == list(rows)
    assert read_class_names(tmp_path / "out") == ["Käfer", "dog"]
    val = read_labelled_images(tmp_path / "out", "val")
    assert val.paths == ["Käfer/1.png", "Käfer/4.png", "dog/1.png", "dog/4.png"]
    assert val.labels.tolist() == [0, 0, 1, 1]
    pixels = val.images.gather(range(len(val)))
    assert pixels.shape == (4, 32, 32, 3)
    assert pixels[:, 0, 0, 0].tolist() == [10, 40, 10, 40]
    assert read_quarantine(tmp_path / "out") == []


def test_bad_pictures_are_set_aside_and_the_others_keep_their_rows(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "PICTURES_PER_SHARD", 2)
    contents = good_pictures() | {"Käfer/3.png": HTML, "dog/0.png": b"", "dog/5.png": png(9)[:-30]}
    rows = write_archive(archive, contents)
    good = preprocess_pictures(archive, rows, SIDE_PX, params(), tmp_path / "out")
    assert {row.path for row in rows} - {row.path for row in good} == {
        *("Käfer/3.png", "dog/0.png", "dog/5.png")
    }
    assert [
        (row["path"], row["class"], row["split"]) for row in read_quarantine(tmp_path / "out")
    ] == [
        ("Käfer/3.png", "Käfer", "train"),
        ("dog/0.png", "dog", "train"),
        ("dog/5.png", "dog", "test"),
    ]
    reasons = [row["reason"] for row in read_quarantine(tmp_path / "out")]
    assert reasons[0].startswith("not a picture that can be read: an HTML page; ")
    assert reasons[1] == "empty file"
    train = read_labelled_images(tmp_path / "out", "train")
    assert train.paths == ["Käfer/0.png", "dog/3.png"]
    assert train.images.gather([0, 1])[:, 0, 0, 0].tolist() == [0, 30]


def test_the_limit_of_pixels_and_the_range_of_16_bits_are_those_of_params(
    archive: Path, tmp_path: Path
) -> None:
    grey = io.BytesIO()
    Image.fromarray(np.full((32, 32), 1023, np.uint16)).save(grey, "PNG")
    contents = good_pictures() | {"dog/0.png": grey.getvalue()}
    rows = write_archive(archive, contents)
    limits = params().model_copy(update={"max_pixels": 1100, "max_value": 1023})
    with pytest.raises(DataError, match=r"40x30 pixels, more than preprocess.max_pixels = 1100"):
        preprocess_pictures(archive, rows, SIDE_PX, limits, tmp_path / "out")
    limits = limits.model_copy(update={"max_pixels": 1200})
    preprocess_pictures(archive, rows, SIDE_PX, limits, tmp_path / "out")
    train = read_labelled_images(tmp_path / "out", "train")
    bright = train.images.gather([train.paths.index("dog/0.png")])
    assert np.unique(bright).tolist() == [255]


def test_pictures_become_squares_as_params_say(archive: Path, tmp_path: Path) -> None:
    rows = write_archive(archive, good_pictures())  # of 40x30 pixels
    boxed = params().model_copy(update={"resize": "letterbox"})
    preprocess_pictures(archive, rows, SIDE_PX, boxed, tmp_path / "out")
    pixels = read_labelled_images(tmp_path / "out", "train").images.gather([1])[0]
    assert pixels[[0, 3, 28, 31], 0].tolist() == [[*FILL]] * 4
    assert np.unique(pixels[4:28]).tolist() == [30]


def test_a_shard_of_bad_pictures_alone_does_no_harm(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "PICTURES_PER_SHARD", 1)
    rows = write_archive(archive, good_pictures() | {"dog/0.png": HTML})
    preprocess_pictures(archive, rows, SIDE_PX, params(), tmp_path / "out")
    train = read_labelled_images(tmp_path / "out", "train")
    assert train.images.shape == (3, 32, 32, 3)
    assert train.images.gather([0, 1, 2])[:, 0, 0, 0].tolist() == [0, 30, 30]


def test_too_many_bad_pictures_stop_the_run_and_leave_nothing(
    archive: Path, tmp_path: Path
) -> None:
    rows = write_archive(archive, good_pictures() | {"dog/0.png": HTML, "dog/1.png": b""})
    with pytest.raises(
        DataError,
        match=r"^2 of 12 pictures .* preprocess\.max_bad = 0\.1 allows \(dog/0\.png: not a picture",
    ):
        preprocess_pictures(archive, rows, SIDE_PX, params(max_bad=0.1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_as_many_bad_pictures_as_allowed_are_allowed(archive: Path, tmp_path: Path) -> None:
    rows = write_archive(archive, good_pictures() | {"dog/0.png": HTML, "dog/3.png": HTML})
    with pytest.raises(DataError, match="no training pictures of dog"):
        preprocess_pictures(archive, rows, SIDE_PX, params(max_bad=2 / 12), tmp_path / "out")


def test_same_pictures_same_bytes(archive: Path, tmp_path: Path) -> None:
    rows: Sequence[Picture] = write_archive(archive, good_pictures() | {"dog/0.png": HTML})
    for name in ("a", "b"):
        preprocess_pictures(archive, rows, SIDE_PX, params(), tmp_path / name)
    assert processed_bytes(tmp_path / "a") == processed_bytes(tmp_path / "b")


def test_a_class_without_a_picture_that_can_be_decoded_is_not_dropped(
    archive: Path, tmp_path: Path
) -> None:
    contents = good_pictures() | {f"bird/{i}.png": b"404: Not Found" for i in range(3)}
    rows = write_archive(archive, contents)
    with pytest.raises(DataError, match=r"^no picture of the class bird can be decoded: 3 were"):
        preprocess_pictures(archive, rows, SIDE_PX, params(max_bad=1.0), tmp_path / "out")


def test_a_file_larger_than_any_picture_is_set_aside_unread(archive: Path, tmp_path: Path) -> None:
    pictures = write_archive(archive, good_pictures() | {"dog/6.png": bytes(25_000_000)})
    preprocess_pictures(archive, pictures, SIDE_PX, params(), tmp_path / "out")
    (row,) = read_quarantine(tmp_path / "out")
    assert (row["path"], row["reason"]) == (
        "dog/6.png",
        "a file of 25,000,000 bytes, more than the 24,777,216 that the pixels allowed take",
    )


def decode_in_a_moment(archive: Path) -> None:
    decoding.CPU_S = 0.05  # of this process alone
    with decoding.open_pictures(archive, 100_000_000) as pictures:
        for name in ("dog/0.png", "dog/6.png"):
            with pictures.read(name) as content:
                decode_image(content, 32, 100_000_000)


def test_a_picture_that_ends_its_process_stops_the_run_with_its_name(
    archive: Path, tmp_path: Path
) -> None:
    """The clock sets nothing aside: a slow machine would go on with other pictures."""
    large = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(large, "PNG")
    write_archive(archive, good_pictures() | {"dog/6.png": large.getvalue()})
    with pytest.raises(PawprintError, match=r"^decoding: dog/6\.png took more processor"):
        map_shards(decode_in_a_moment, [archive], "decoding")
