# covers: B11, B13
"""What a server keeps of the last pictures, where it is told to, and what is suggested by it."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from served import CLASSES, colours, picture, serving

from pawprint.__main__ import main
from pawprint.data.manifest import Picture, write_manifest
from pawprint.inference.classifier import Classifier
from pawprint.runner.errors import DataError
from pawprint.suggestions.kept import KeptPicture, KeptPictures, read_kept, render_kept

HEAD = {"model": "head", "class_names": ["cat", "dog"]}
FEATURES = base64.b64encode(np.array([1, 2], "<f4").tobytes()).decode()
ROW = {
    "sha256": "ab",
    "name": "x.png",
    "request_id": "1",
    "time": "2026-11-27T10:00:00+00:00",
    "probabilities": [0.25, 0.75],
    "features": FEATURES,
}


def kept_picture(digest: str, sure: float, features: list[float], name: str = "") -> KeptPicture:
    probs = np.array([sure, 1 - sure], np.float32)
    of = digest, name, "id", "2026-11-27T10:00:00+00:00", probs
    return KeptPicture(*of, np.array(features, np.float32))


def write_kept(path: Path, *pictures: KeptPicture) -> Path:
    path.write_bytes(render_kept(KeptPictures("head", ["cat", "dog"], pictures)))
    return path


def test_what_is_kept_comes_back_from_its_file(tmp_path):
    one = kept_picture("ab", 1 / 3, [0.1, 1e-30], "Käfer \ud83d\n.png")  # a lone surrogate, too
    found = read_kept(write_kept(tmp_path / "kept.jsonl", one, kept_picture("cd", 0.5, [0, 1])))
    assert (found.model, found.class_names) == ("head", ["cat", "dog"])
    back, other = found.pictures
    assert (back.sha256, back.name, back.request_id, back.time) == (
        *("ab", one.name, "id"),
        "2026-11-27T10:00:00+00:00",
    )
    assert back.probs.tolist() == one.probs.tolist()
    assert back.features.tolist() == one.features.tolist()
    assert other.features.dtype == np.float32


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([], "kept.jsonl"),
        (["no"], "line 1"),
        ([[]], "line 1"),
        ([{"model": "head"}], "line 1"),
        ([{**HEAD, "class_names": "ab"}], "line 1"),
        ([HEAD, ROW, {}], "line 3"),
        ([HEAD, {**ROW, "name": None}], "line 2"),
        ([HEAD, {**ROW, "features": "?"}], "line 2"),
        ([HEAD, {**ROW, "features": ""}], "line 2"),
        ([HEAD, {**ROW, "features": base64.b64encode(b"abc").decode()}], "line 2"),
        (
            [HEAD, {**ROW, "features": base64.b64encode(b"\xff" * 4).decode()}],
            "line 2",
        ),
        ([HEAD, {**ROW, "probabilities": [1]}], "line 2"),
        ([HEAD, {**ROW, "probabilities": ["a", "b"]}], "line 2"),
        ([HEAD, ROW, {**ROW, "features": FEATURES[:4] + "AA=="}], "line 3"),
    ],
)
def test_another_file_is_refused_in_one_line(lines, place, tmp_path):
    path = tmp_path / "kept.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    with pytest.raises(DataError, match=rf"{place}: expected a folder .* for GET /v1/kept; found"):
        read_kept(path)


def test_a_picture_in_place_of_a_folder_is_told_in_one_line(tmp_path, capsys):
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    assert main(["suggest", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "red.png: expected a folder of pictures, or a file of what a server" in err


def test_unsure_pictures_that_a_server_has_seen_are_suggested(tmp_path, monkeypatch, capsys):
    """The least sure comes first; one has a label, and of what came twice the last one counts."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    labelled = Picture("cat/1.png", "cat", "train", "ee" * 32, "ee" * 8)
    write_manifest(Path("data/split.csv"), [labelled])
    Path("suggestions").mkdir()
    Path("suggestions/sheet.html").write_text("of other pictures")
    write_kept(
        Path("kept.jsonl"),
        kept_picture("aa" * 32, 0.99, [1, 0, 0], "sure.png"),
        kept_picture("bb" * 32, 0.5, [0, 1, 0], "first.png"),
        kept_picture("bb" * 32, 0.5, [0, 1, 0], "later.png"),
        kept_picture("cc" * 32, 0.4, [0, 0, 1]),
        kept_picture("ee" * 32, 0.5, [1, 1, 1]),
    )
    assert main(["suggest", "kept.jsonl", "--count", "3", "--model", "other"]) == 0
    out, err = capsys.readouterr()
    with open("suggestions/suggestions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert (rows[0]["name"], rows[0]["sha256"]) == ("later.png", "bb" * 32)
    (nameless,) = (row for row in rows if not row["name"])
    assert (nameless["predicted"], nameless["probability"]) == ("dog", "0.600000")
    assert "first.png" not in {row["name"] for row in rows}
    assert "later.png (request id): cat 50.0 %" in out
    assert "sha256 cccccccccccccccc (request id): dog 60.0 %" in out
    assert "3 of 3 pictures without a label that a server has seen" in out
    assert "1 pictures are left out: data/split.csv has them already" in err
    assert "1 pictures are left out: sent again later" in err
    assert "--model other is not read" in err
    assert not Path("suggestions/sheet.html").exists()


def test_nothing_to_suggest_is_told_in_one_line(tmp_path, capsys):
    assert main(["suggest", str(write_kept(tmp_path / "kept.jsonl"))]) == 2
    err = capsys.readouterr().err
    assert "kept.jsonl: expected a picture that has no label, found none" in err
    assert err.count("\n") == 1


def test_a_server_keeps_what_it_found_in_the_last_pictures(tmp_path, monkeypatch):
    """Of three, the last two: their features to the bit, and no pixels; a key guards them."""
    contents = [picture(name) for name in CLASSES]
    key = {"Authorization": "Bearer opensesame"}
    with serving(
        *("--model", str(colours()), "--keep-features", "2"),
        environment={"PAWPRINT_API_KEY": "opensesame"},
    ) as server:
        assert server.get("/v1/kept").status_code == 401
        (head,) = server.get("/v1/kept", headers=key).text.splitlines()
        assert json.loads(head) == {"model": "colours", "class_names": CLASSES}
        server.predict(b"no picture", headers=key)
        for i, content in enumerate(contents):
            server.predict(content, headers={**key, "X-Request-ID": f"request-{i}"})
        answer = server.get("/v1/kept", headers=key)
        assert "/v1/kept" in server.get("/openapi.json").json()["paths"]
        messages = [entry["message"] for entry in server.log]
    assert any("of the last 2 pictures of the primary model 3 features each" in m for m in messages)
    assert answer.headers["content-type"] == "application/jsonl"
    (tmp_path / "kept.jsonl").write_bytes(answer.content)
    kept = read_kept(tmp_path / "kept.jsonl")
    assert [one.request_id for one in kept.pictures] == ["request-1", "request-2"]
    assert [one.name for one in kept.pictures] == ["0.png", "0.png"]
    classifier = Classifier.open(colours())
    for one, content in zip(kept.pictures, contents[1:], strict=True):
        assert one.sha256 == hashlib.sha256(content).hexdigest()
        probs, features = classifier.features(classifier.decode(content)[None])
        assert one.features.tolist() == features[0].tolist()
        assert one.probs.tolist() == probs[0].tolist()
    monkeypatch.chdir(tmp_path)
    assert main(["suggest", "kept.jsonl"]) == 0


def test_a_server_keeps_nothing_unless_it_is_told_to():
    with serving("--model", str(colours())) as server:
        server.predict(picture("red"))
        assert server.get("/v1/kept").status_code == 404
        assert "/v1/kept" not in server.get("/openapi.json").json()["paths"]
        assert not any("are kept" in entry["message"] for entry in server.log)


def test_others_may_not_ask_for_what_is_kept_without_a_key(capsys):
    options = ["--keep-features", "5", "--host", "0.0.0.0", "--model", str(colours())]
    assert main(["serve", *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--keep-features: expected a key, since GET /v1/kept tells of the pictures" in err
