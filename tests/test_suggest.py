"""Unlabelled pictures that are worth a label: which are chosen, and what is said of the others."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from corpus import encode
from PIL import Image
from served import colours, picture

from pawprint.__main__ import main
from pawprint.data.decisions import Decision, Verdict, write_decisions
from pawprint.data.manifest import Picture, write_manifest
from pawprint.suggestions.choice import choose_diverse
from pawprint.suggestions.sheet import Suggestion, render_sheet

# covers: B11, R10

SURE, UNSURE = [0.99, 0.01], [0.5, 0.5]


def test_first_is_the_longest_gradient_by_hand():
    """(p - label) has the length sqrt(2)/100 where it is sure, and sqrt(2)/2 where it is not."""
    features = np.array([[30.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    probs = np.array([SURE, UNSURE, SURE], np.float32)
    # 30/100 against 1/2: the second, though the first is thirty times as far
    assert choose_diverse(features, probs, 1, seed=0) == [1]


def test_a_copy_is_never_chosen_and_all_others_are():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6, 4)).astype(np.float32)
    probs = rng.dirichlet([1, 1, 1], size=6).astype(np.float32)
    chosen = choose_diverse(np.tile(features, (2, 1)), np.tile(probs, (2, 1)), 12, seed=3)
    assert sorted(row % 6 for row in chosen) == list(range(6))


def test_one_seed_repeats_and_another_differs():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    probs = rng.dirichlet([1, 1], size=200).astype(np.float32)
    first, again, other = (choose_diverse(features, probs, 20, seed) for seed in (0, 0, 1))
    assert first == again
    assert first[0] == other[0]
    assert first != other


def test_far_ones_are_drawn_where_most_are_alike():
    """95 unsure pictures in one place, five in five others: a draw by uncertainty alone would
    find one of the five in twenty; by distance, all are among the first dozen."""
    rng = np.random.default_rng(2)
    crowd = rng.normal(0, 0.01, (95, 6)) + np.eye(6)[0]
    features = np.concatenate([crowd, np.eye(6)[1:]]).astype(np.float32)
    probs = np.tile(np.array(UNSURE, np.float32), (100, 1))
    for seed in range(5):
        chosen = choose_diverse(features, probs, 12, seed)
        assert {95, 96, 97, 98, 99} <= set(chosen)


def between(share: float) -> bytes:
    """A picture of a colour between red and green."""
    pixel = [int(20 + 230 * (1 - share)), int(20 + 230 * share), 20]
    return encode(Image.fromarray(np.full((40, 60, 3), pixel, np.uint8)), "PNG")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Sure pictures, two unsure ones, a copy, a labelled one and one that is no picture."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "new"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        (folder / f"{colour}.png").write_bytes(picture(colour))
    (folder / "half.png").write_bytes(between(0.5))
    (folder / "a <b> half.png").write_bytes(between(0.48))
    shutil.copy(folder / "red.png", folder / "red again.png")
    labelled = picture("green", (50, 50))
    (folder / "labelled.png").write_bytes(labelled)
    (folder / "broken.jpg").write_bytes(b"no")
    digest = hashlib.sha256(labelled).hexdigest()
    Path("data").mkdir()
    write_manifest(
        Path("data/split.csv"), [Picture("green/1.png", "green", "train", digest, digest[:16])]
    )
    return folder


def suggest(folder: Path, *options: str) -> int:
    return main(["suggest", str(folder), "--model", str(colours()), *options])


def test_unsure_pictures_come_first_and_what_is_left_out_is_said(folder, capsys):
    assert suggest(folder, "--count", "2") == 1  # of a picture that cannot be read
    out, err = capsys.readouterr()
    with open("suggestions/suggestions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert Path(rows[0]["path"]).name in ("half.png", "a <b> half.png")
    assert float(rows[0]["probability"]) < 0.7
    assert "2 of 5 pictures without a label" in out
    assert "1 pictures are left out: data/split.csv has them already" in err
    assert "1 pictures are left out: copies of others in the folder" in err
    assert "broken.jpg: " in err


def test_all_are_suggested_where_few_are_there_and_names_are_no_markup(folder, capsys):
    suggest(folder, "--count", "50")
    sheet = Path("suggestions/sheet.html").read_text(encoding="utf-8")
    assert sheet.count("<li>") == sheet.count("data:image/jpeg") == 5
    assert "a &lt;b&gt; half.png" in sheet
    assert "<b> half" not in sheet
    before = {path.name: path.read_bytes() for path in Path("suggestions").iterdir()}
    suggest(folder, "--count", "50")
    assert {path.name: path.read_bytes() for path in Path("suggestions").iterdir()} == before


def test_a_folder_without_news_is_refused_in_one_line(folder, capsys):
    for path in folder.iterdir():
        if path.name not in ("labelled.png", "broken.jpg"):
            path.unlink()
    assert suggest(folder) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "expected a picture that can be read and has no label, found none (1 pictures are" in err
    assert not Path("suggestions").exists()


def test_no_folder_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        suggest(tmp_path / "nowhere")
    assert "FOLDER: expected a folder, or a file of a server, found" in capsys.readouterr().err


def test_a_suggestion_that_is_gone_by_then_has_no_thumbnail():
    sheet = render_sheet([Suggestion("gone.png", "cat", 0.5)], [None], "One.")
    assert "<img" not in sheet
    assert "gone.png" in sheet


def test_what_a_decision_drops_is_not_suggested_again(folder, capsys):
    shutil.copy(Path(__file__).parent.parent / "params.yaml", "params.yaml")
    digest = hashlib.sha256((folder / "half.png").read_bytes()).hexdigest()
    write_decisions({digest: Decision(digest, Verdict.DROP)}, Path("data/decisions.csv"))
    suggest(folder)
    out, err = capsys.readouterr()
    assert "4 of 4 pictures without a label" in out
    assert "1 pictures are left out: data/decisions.csv drops them" in err


def test_pictures_that_look_alike_are_counted_and_names_of_other_bytes_are_escaped(folder, capsys):
    for path in folder.iterdir():
        path.unlink()
    small = picture("red", (9, 9))
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:
        file.write(small)
    (folder / "same.png").write_bytes(small + b"\0")
    assert suggest(folder) == 0
    rows = Path("suggestions/suggestions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[1].rsplit("/", 1)[1] for row in rows] in (
        ["same.png"],
        ["\\udcff.png"],
    )
    assert "1 instead of 2 are suggested" in capsys.readouterr().err
