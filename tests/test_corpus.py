"""Every kind of picture and of archive is used correctly, or set aside with its reason."""
# covers: B5, R12, R13

from __future__ import annotations

import csv
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from corpus import SIDE, encode, pictures
from corpus_zips import pack, zips
from PIL import Image
from servers import data_params

from pawprint.data.datasets import read_labelled_images
from pawprint.data.manifest import assign_splits, read_archive_index
from pawprint.data.preprocess import preprocess_pictures
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import DataError, ImageError, LayoutError, SourceError
from pawprint.runner.params import Params
from pawprint.sources.archive import write_archive
from pawprint.sources.fetch import fetch
from pawprint.sources.quota import Quota
from pawprint.sources.zips import open_zip

CAP = 100_000_000
ZIPS = zips()
PICTURES = pictures()
USED = {name: case for name, case in PICTURES.items() if case.pixels is not None}
BAD = {name: case for name, case in PICTURES.items() if case.reason}


def test_the_corpus_is_large_enough():
    assert len(USED) >= 30
    assert len(BAD) >= 40


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_used_as_drawn_or_refused(name):
    case = PICTURES[name]
    if case.reason:
        with pytest.raises(ImageError, match=case.reason) as caught:
            decode_image(case.content, SIDE, CAP)
        assert "\n" not in str(caught.value)
        return
    decoded = decode_image(case.content, SIDE, CAP)
    assert (decoded.dtype, decoded.shape) == (np.uint8, (SIDE, SIDE, 3))
    if case.pixels is not None:
        difference = np.abs(decoded.astype(int) - case.pixels)
        assert difference.max() <= case.tolerance


# TensorFlow knows neither arithmetic coding nor EXIF, drops alpha and checks what Pillow does not
INDEPENDENT = [
    name
    for name in USED
    if re.fullmatch(
        r"(?!arith|orient|telephone|line|upright|dot|damaged|wrong|rgb\.jpg|.*(holes|alpha|rgba)).*\.(jpg|png|gif)",
        name,
    )
]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_another_decoder_sees_the_same(name):
    import tensorflow as tf

    content = PICTURES[name].content
    if name.endswith(".jpg"):
        other = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    elif name.endswith(".gif"):
        other = tf.io.decode_gif(content).numpy()[0]
    else:
        other = tf.io.decode_png(content, channels=3).numpy()
    difference = np.abs(decode_image(content, SIDE, CAP).astype(int) - other)
    assert difference.max() <= (7 if name.endswith(".jpg") else 0)


def test_all_bad_pictures_at_once_are_quarantined(tmp_path: Path, committed: Params):
    """Through the functions of the stages download, split and preprocess."""
    good = {f"{kind}/{name}": USED[name].content for kind in ("cat", "dog") for name in USED}
    bad = {f"dog/{name}": case.content for name, case in BAD.items()}
    suffixed = {
        re.sub(r"\.(mpo|heic)$", r".\1.jpg", name): data for name, data in (good | bad).items()
    }
    (tmp_path / "source.zip").write_bytes(pack(suffixed))
    quota = Quota(data_params(), "source")
    with open_zip(tmp_path / "source.zip", tmp_path / "work", quota) as listing:
        write_archive(listing, tmp_path / "images.zip", quota)
    rows = assign_splits(read_archive_index(tmp_path / "images.zip"), committed.split)
    params = committed.preprocess.model_copy(update={"max_bad": 0.9})
    out = tmp_path / "processed"
    decoded = preprocess_pictures(tmp_path / "images.zip", rows, SIDE, params, out)
    assert len(rows) - len(decoded) == len(BAD)
    with (out / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    reasons = {path.replace(".heic.jpg", ".heic"): reason for path, reason in reasons.items()}
    assert set(reasons) == set(bad)
    for name, case in BAD.items():
        assert re.search(case.reason, reasons[f"dog/{name}"]), name
    for split in ("train", "val", "test"):
        images = read_labelled_images(out, split)
        for i, path in enumerate(images.paths):
            name = re.sub(r"\.(mpo|heic)\.jpg$", r".\1", path.split("/")[1])
            pixels = images.images.gather([i])[0].astype(int)
            assert np.abs(pixels - USED[name].pixels).max() <= USED[name].tolerance, name


@pytest.mark.parametrize("damage", ["a flipped byte", "a missing picture", "no zip"])
def test_an_archive_that_was_damaged_after_its_download(damage, tmp_path, committed):
    archive = tmp_path / "images.zip"
    files = {
        f"{kind}/{i}.png": encode(flat_picture(i)) for kind in ("cat", "dog") for i in range(9)
    }
    archive.write_bytes(pack(files, zipfile.ZIP_STORED))
    rows = assign_splits(read_archive_index(archive), committed.split)
    content = archive.read_bytes()
    damaged = {
        "a flipped byte": content.replace(b"IDAT", b"IDAU", 1),
        "a missing picture": pack(dict(list(files.items())[1:])),
        "no zip": b"",
    }
    archive.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"images.zip: expected the whole .* repro -f download"):
        preprocess_pictures(archive, rows, SIDE, committed.preprocess, tmp_path / "out")


def flat_picture(value: int) -> Image.Image:
    return Image.new("L", (8, 8), value)


@pytest.mark.parametrize("kind", ZIPS)
def test_each_zip_is_used_or_refused_and_nothing_escapes(kind, tmp_path, monkeypatch):
    case = ZIPS[kind]
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    Path("source.zip").write_bytes(case.content)
    params = data_params(source="archive", archive="source.zip", **case.limits)
    expected = {"source.zip"}
    if case.reason:
        with pytest.raises((LayoutError, SourceError), match=case.reason) as caught:
            fetch(params, Path("images.zip"), Path("work"))
        assert "\n" not in str(caught.value)
    else:
        fetch(params, Path("images.zip"), Path("work"))
        expected.add("images.zip")
        with zipfile.ZipFile("images.zip") as archive:
            assert archive.testzip() is None
            assert archive.namelist() == case.names
    assert {
        str(path.relative_to(home)) for path in tmp_path.rglob("*") if path.is_file()
    } == expected
