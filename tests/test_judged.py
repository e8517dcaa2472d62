"""What stage evaluate keeps of all that models said, and pictures of none of the classes."""

# covers: B12

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pawprint.evaluation.judged import JudgedModel, Verdicts, read_unlikeness, write_judged
from pawprint.evaluation.others import Squares, find_others
from pawprint.inference.judging import judge_others
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import DataError, ParamsError
from pawprint.storage.tables import read_csv

SQUARES = Squares(8, 100_000, 0, "letterbox")


def picture(value: int, size: tuple[int, int] = (12, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Two kinds in folders, one beside them, and what is none of them."""
    for name, content in {
        "lakes/b.png": picture(20),
        "lakes/deep/a.jpg": picture(10),  # what it is, its first bytes tell
        "lakes/broken.png": picture(30)[:40],
        "lakes/large.png": picture(30, (1000, 101)),
        "letters/1.png": picture(40),
        "letters/notes.txt": b"hello",
        "alone.png": picture(50),
        "broken/1.png": b"",
        ".hidden.png": picture(60),
        "README.md": b"what lies here",
    }.items():
        path = tmp_path / "others" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "others"


def of_red(images: np.ndarray) -> list[np.ndarray]:
    """A network whose first probability is the middle's red over 100, and unlikeness that by 10."""
    red = images[:, 4, 4, 0].astype(np.float32)
    return [np.stack([red / 100, 1 - red / 100], axis=1), red[:, None] / 10]


def test_others_are_judged_by_their_folders_and_what_is_left_out_is_said(others: Path) -> None:
    found = find_others(others, SQUARES)
    judged = judge_others(of_red, found.kinds, 2)
    assert {kind: list(verdicts.paths) for kind, verdicts in judged.items()} == {
        "others": [str(others / "alone.png")],
        "lakes": [str(others / "lakes/b.png"), str(others / "lakes/deep/a.jpg")],
        "letters": [str(others / "letters/1.png")],
    }
    assert judged["lakes"].probs[:, 0].tolist() == pytest.approx([0.2, 0.1])
    assert judged["lakes"].unlikeness is not None
    assert judged["lakes"].unlikeness.tolist() == [2, 1]
    assert judged["lakes"].labels is None
    lines = list(found.describe())
    assert lines[0].endswith("others: 1 others, 0 broken, 2 lakes, 1 letters")
    assert "1 files are not read" in lines[1]
    assert "3 pictures are left out: " in lines[2]
    for reason in ("broken/1.png: empty file", "lakes/broken.png: ", "lakes/large.png: "):
        assert reason in lines[2]


def test_others_that_are_in_the_data_set_or_there_twice_are_said(others: Path) -> None:
    (others / "letters/again.png").write_bytes(picture(50))
    found = find_others(others, SQUARES)
    judge_others(of_red, found.kinds, 2)
    assert list(found.describe_copies({"ab" * 32: "cat/1.png"})) == [
        f"warning: {others}: 1 pictures are copies of others there, and count again"
    ]
    known = {hashlib.sha256(picture(20)).hexdigest(): "cat/1.png"}
    own, _ = found.describe_copies(known)
    assert "1 pictures of none of the classes are in the data set, too" in own
    assert f"{others}/lakes/b.png is cat/1.png" in own


def test_others_are_decoded_as_in_prediction(others: Path) -> None:
    (pixels,) = find_others(others, SQUARES).kinds["letters"].batches(5)
    content = (others / "letters/1.png").read_bytes()
    assert (pixels[0] == decode_image(content, 8, 100_000, 0, resize="letterbox")).all()


def test_links_to_folders_are_not_followed_and_are_said(others: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.png").write_bytes(picture(70))
    (others / "lakes/more").symlink_to(tmp_path / "elsewhere")
    (others / "linked.png").symlink_to(tmp_path / "elsewhere/1.png")
    os.mkfifo(others / "pipe.png")
    found = find_others(others, SQUARES)
    judged = judge_others(of_red, found.kinds, 2)
    assert len(judged["lakes"]) == 2
    assert judged["others"].paths == [str(others / "alone.png"), str(others / "linked.png")]
    lines = list(found.describe())
    assert "others/pipe.png: not an ordinary file, or a link that leads to none" in lines[-1]
    (said,) = (line for line in lines if "links to" in line)
    assert said.startswith("warning: 1 links to folders are not followed, since DVC does not watch")
    assert f"{others}/lakes/more;" in said


def test_a_folder_with_the_name_of_the_loose_pictures_is_said(others: Path) -> None:
    assert "count as one kind" not in "\n".join(find_others(others, SQUARES).describe())
    (others / "others").mkdir()
    (others / "others/1.png").write_bytes(picture(70))
    found = find_others(others, SQUARES)
    assert len(found.kinds["others"]) == 2
    assert "the folder others and the pictures beside the folders count as one kind" in "\n".join(
        found.describe()
    )


def test_an_empty_folder_has_no_others_and_a_missing_one_is_named(tmp_path: Path) -> None:
    found = find_others(tmp_path, SQUARES)
    assert (found.kinds, list(found.describe())) == ({}, [])
    with pytest.raises(ParamsError, match=r"evaluate\.others: expected a folder .* set it back"):
        find_others(tmp_path / "nowhere", SQUARES)


def verdicts(count: int, tells: bool = True) -> Verdicts:
    rng = np.random.default_rng(count)
    probs = rng.dirichlet((1, 1), count).astype(np.float32)
    ratios = rng.exponential(size=count).astype(np.float32) if tells else None
    return Verdicts([f"a/{i}.png" for i in range(count)], probs, ratios, np.zeros(count, int))


def test_what_was_said_comes_back_to_the_bit(tmp_path: Path) -> None:
    test, val = verdicts(5), verdicts(4)
    models = {"baseline": verdicts(5, tells=False), "head": test}
    best = JudgedModel("head", ["cat", "dog"], val, test, {"lakes": verdicts(2)})
    write_judged(tmp_path / "judged", models, best)
    file = tmp_path / "judged/unlikeness.csv"
    backwards = test.paths[::-1]
    assert test.unlikeness is not None
    assert (read_unlikeness(file, "head", backwards) == test.unlikeness[::-1]).all()
    with pytest.raises(DataError, match=r"unlikeness\.csv: expected .* by baseline, .*dvc repro"):
        read_unlikeness(file, "baseline", test.paths)
    assert (np.load(tmp_path / "judged/validation/unlikeness.npy") == val.unlikeness).all()
    assert (np.load(tmp_path / "judged/validation/probabilities.npy") == val.probs).all()
    rows = read_csv(tmp_path / "judged/others.csv")
    assert [(row["folder"], row["path"]) for row in rows] == [
        ("lakes", "a/0.png"),
        ("lakes", "a/1.png"),
    ]
    assert {row["class"] for row in rows} <= {"cat", "dog"}


def test_models_that_tell_no_unlikeness_leave_a_table_without_it(tmp_path: Path) -> None:
    silent = verdicts(3, tells=False)
    best = JudgedModel("head", ["cat", "dog"], silent, silent, {})
    write_judged(tmp_path / "judged", {"head": silent}, best)
    assert read_csv(tmp_path / "judged/unlikeness.csv") == [{"path": p} for p in silent.paths]
    assert read_csv(tmp_path / "judged/others.csv") == []
    assert not (tmp_path / "judged/validation/unlikeness.npy").exists()
