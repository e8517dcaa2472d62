"""``python -m pawprint predict``, as users call it: one line a picture, whatever the picture is."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from classifiers import COLOURS, ROOT, colour_probs, colours_models, promising_model, run_python
from corpus import encode, heic
from living import wait_until
from PIL import Image
from terminals import in_terminal

from pawprint.__main__ import COMMANDS
from pawprint.cli.predict import summarize
from pawprint.pictures.squares import FILL

# covers: R7, R10, R11, R18, B5

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def picture(colour: tuple[int, int, int], format_: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, format_)
    return file.getvalue()


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with models/export, and photos in folders."""
    (tmp_path / "models").symlink_to(colours_models(tmp_path_factory))
    for name, colour in {
        "photos/b.png": BLUE,
        "photos/a/same.jpg": RED,
        "photos/c/same.jpg": GREEN,
        "photos/.hidden.png": RED,
        "other/one.png": GREEN,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(colour, "JPEG" if name.endswith("jpg") else "PNG"))
    (tmp_path / "photos/notes.txt").write_text("hello")
    return tmp_path


def predict(
    project: Path, *arguments: str | bytes, code: int = 0, stdin: bytes = b""
) -> tuple[str, str]:
    """Standard output and standard error of the command, which must end with this exit code."""
    done = run_python("-m", "pawprint", "predict", *arguments, cwd=project, stdin=stdin)
    assert done.returncode == code, done.stderr.decode()[-3000:]
    return done.stdout.decode(), done.stderr.decode()


def test_what_is_no_ordinary_file_in_a_folder_is_a_line(project: Path) -> None:
    folder = project / "odd"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture(RED))
    os.mkfifo(folder / "2.png")
    (folder / "3.png").symlink_to("/dev/zero")
    (folder / "4.png").symlink_to("nowhere.png")
    out, _ = predict(project, "odd", "--json", code=1)
    answers = [json.loads(line) for line in out.splitlines()]
    reason = "not an ordinary file, or a link that leads to none"
    assert [answer.get("error", "") for answer in answers] == ["", reason, reason, reason]


def test_a_link_to_a_folder_is_a_line_and_can_be_named(project: Path) -> None:
    (project / "photos/linked").symlink_to(project / "other")
    (project / "photos/.linked").symlink_to(project / "other")
    out, _ = predict(project, "photos", "--top", "1", code=1)
    linked = "photos/linked: error: a link to a folder, which is not followed: name it itself"
    assert [line for line in out.splitlines() if "linked" in line] == [linked]
    out, _ = predict(project, "photos/linked", "--top", "1")
    assert out == "photos/linked/one.png: green 100.0 %\n"
    out, _ = predict(project, "photos/*", "--json", code=1)  # names the link itself
    paths = [json.loads(line)["path"] for line in out.splitlines()]
    assert "photos/linked/one.png" in paths
    assert "photos/linked" not in paths
    for stars in ("photos/**", "photos/**/*.png", "photos/**/*[!t]"):  # no notes.txt
        out, _ = predict(project, stars, "--top", "1", code=1)
        assert [line for line in out.splitlines() if "linked" in line] == [linked]
        assert "photos/b.png: blue 100.0 %" in out.splitlines()


def test_a_link_to_what_is_listed_anyway_is_none_to_tell_of(project: Path) -> None:
    (project / "photos/latest").symlink_to("a")
    out, _ = predict(project, "photos", "--top", "1")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "photos/a/same.jpg",
        "photos/b.png",
        "photos/c/same.jpg",
    ]


def test_who_uses_it_is_told_to_nobody(project: Path) -> None:
    """OpenVINO would start a process that tells a server of Google's, and leave files at home."""
    home = project / "home"
    home.mkdir()
    program = (
        "import multiprocessing, sys, pawprint.__main__; pawprint.__main__.main(); "
        "print(multiprocessing.active_children(), 'openvino' in sys.modules)"
    )
    done = run_python("-c", program, "predict", "photos/b.png", cwd=project, HOME=str(home))
    assert done.stdout.decode().splitlines()[-1] == "[] True", done.stderr.decode()
    assert list(home.iterdir()) == []


def test_folders_are_searched_and_sorted_and_a_line_is_printed_for_each_picture(
    project: Path,
) -> None:
    out, err = predict(project, "photos", "other/one.png", "--top", "2")
    assert out == (
        "photos/a/same.jpg: red 100.0 %, green 0.0 %\n"
        "photos/b.png: blue 100.0 %, red 0.0 %\n"
        "photos/c/same.jpg: green 100.0 %, red 0.0 %\n"
        "other/one.png: green 100.0 %, red 0.0 %\n"
    )
    assert err == ""


def test_what_is_a_picture_in_a_folder_is_told_by_its_content_too(project: Path) -> None:
    folder = project / "as they came"
    folder.mkdir()
    for name in ("IMG_0001", "b.dat", ".hidden"):
        (folder / name).write_bytes(picture(RED))
    (folder / "notes.txt").write_text("BMW is a car")
    out, _ = predict(project, "as they came", "--top", "1")
    assert out == "as they came/IMG_0001: red 100.0 %\nas they came/b.dat: red 100.0 %\n"


def test_globs_that_no_shell_has_expanded(project: Path) -> None:
    out, _ = predict(project, "photos/*/same.*", "oth*", "--top", "1")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "photos/a/same.jpg",
        "photos/c/same.jpg",
        "other/one.png",
    ]
    out, _ = predict(project, "**/*.jpg", "--top", "1", code=1)
    assert out == (
        "photos/a/same.jpg: red 100.0 %\n"
        "photos/c/same.jpg: green 100.0 %\n"
        "models: error: a link to a folder, which is not followed: name it itself\n"
    )
    listed = predict(project, "photos")[0]
    assert predict(project, "photos/**")[0] == listed  # each once, and no notes
    (project / "photos/again").symlink_to(project / "photos")  # links that lead in circles
    (project / "photos/a/again").symlink_to(project / "photos")
    assert predict(project, "photos/**")[0] == listed
    out, _ = predict(project, "pho*/**/a/**/*.jpg", "--top", "1")
    assert out == "photos/a/same.jpg: red 100.0 %\n"


def test_a_name_that_looks_like_a_glob_is_a_name(project: Path) -> None:
    (project / "a[1].png").write_bytes(picture(RED))
    assert predict(project, "a[1].png", "--top", "1")[0] == "a[1].png: red 100.0 %\n"


def test_a_heic_is_read_and_what_is_no_picture_is_named(project: Path) -> None:
    (project / "photo.HEIC").write_bytes(heic(Image.new("RGB", (60, 40), RED)))
    (project / "page.jpg").write_bytes(b"<!DOCTYPE html><title>404</title>")
    out, _ = predict(project, "photo.HEIC", "page.jpg", "--top", "1", code=1)
    first, second = out.splitlines()
    assert first == "photo.HEIC: red 100.0 %"
    assert second.startswith("page.jpg: error: not a picture that can be read: an HTML page; ")


def test_standard_input(project: Path) -> None:
    out, _ = predict(project, "-", "--top", "1", stdin=picture(BLUE))
    assert out == "-: blue 100.0 %\n"
    assert predict(project, "-", "--gradcam", "maps", code=1)[0] == "-: error: empty file\n"
    out, _ = predict(project, "-", "photos/b.png", "--top", "1", code=1)
    assert out == "-: error: empty file\nphotos/b.png: blue 100.0 %\n"


def test_a_bad_picture_is_a_line_and_stops_nothing(project: Path) -> None:
    (project / "photos/a/cut.jpg").write_bytes(picture(RED, "JPEG")[:200])
    (project / "photos/b.png").write_bytes(b"hello")
    Image.new("RGB", (200, 100)).save(project / "photos/c/large.png")
    out, err = predict(project, "photos", "nowhere.png", "nothing*", "--top", "1", code=1)
    lines = out.splitlines()
    assert lines[0].lower().startswith("photos/a/cut.jpg: error: truncated")
    assert lines[1:] == [
        "photos/a/same.jpg: red 100.0 %",
        "photos/b.png: error: not a picture in a known format",
        "photos/c/large.png: error: 200x100 pixels, more than the model's max_pixels = 10000",
        "photos/c/same.jpg: green 100.0 %",
        "nowhere.png: error: no such file or folder",
        "nothing*: error: no picture matches",
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "no pictures found (nowhere.png: no such file or folder); name"),
        (["empty"], "no pictures found (empty: no pictures in this folder); name"),
        (["other", "--model", "none"], "{here}/none: no such model; expected a directory"),
        (["other", "--model", "other"], "other/model.json: not an exported model"),
        (["other", "--model", "none.keras"], "{here}/none.keras: no such model; expected a dir"),
        (["other", "--gradcam", "other/one.png"], "other/one.png: File exists"),
        (["other", "--tta", "2", "--model", "models/upright"], "model upright: trained with aug"),
        (
            ["other", "--tta", "2", "--model", "models/averaged"],
            "model averaged: exported with evaluate.tta: 2, so its answers are means of a picture "
            "and its mirror image already; leave --tta away",
        ),
    ],
)
def test_what_cannot_begin_is_one_line_and_exit_code_2(
    project: Path, arguments: list[str], message: str
) -> None:
    (project / "empty").mkdir()
    out, err = predict(project, *arguments, code=2)
    assert out == ""
    assert err.startswith(f"error: {message.format(here=project)}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: PATH"),
        (["x", "--top", "0"], "argument --top: expected a whole number from 1, found '0'"),
        (
            ["x", "--tta", "3"],
            "argument --tta: expected 1, as it is, or 2, with its mirror image; more made the "
            "models worse; found '3'",
        ),
        (["x", "--opacity", "nan"], "argument --opacity: expected a number in 0...1, found 'nan'"),
        (["x", "--json", "--csv"], "argument --csv: not allowed with argument --json"),
    ],
)
def test_wrong_options_are_named(project: Path, arguments: list[str], message: str) -> None:
    _, err = predict(project, *arguments, code=2)
    assert message in err.splitlines()[-1]


def test_commands_are_listed_and_unknown_ones_refused(project: Path) -> None:
    done = run_python("-m", "pawprint", "--help", cwd=project)
    assert re.search(rb"predict +the classes of pictures", done.stdout)
    done = run_python("-m", "pawprint", "predikt", cwd=project)
    assert done.returncode == 2
    assert b"invalid choice: 'predikt'" in done.stderr


def mixed(project: Path) -> dict[str, np.ndarray]:
    """Pictures whose answers are no round numbers, and a bad one, in photos/."""
    rng = np.random.default_rng(0)
    pixels = {f"mix{i}.png": rng.integers(0, 40 * i, (32, 32, 3)) for i in (1, 2, 5)}
    pixels = {name: values.astype(np.uint8) for name, values in pixels.items()}
    (project / "mixed").mkdir()
    for name, values in pixels.items():
        Image.fromarray(values).save(project / "mixed" / name)
    (project / "mixed/mix3.png").write_bytes(b"hello")
    return {f"mixed/{name}": values for name, values in pixels.items()}


def test_json_has_every_probability(project: Path) -> None:
    pixels = mixed(project)
    out, _ = predict(project, "mixed", "--json", code=1)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["path"] for answer in answers] == [f"mixed/mix{i}.png" for i in (1, 2, 3, 5)]
    assert answers.pop(2) == {"path": "mixed/mix3.png", "error": "not a picture in a known format"}
    for answer in answers:
        found = {entry["class"]: entry["probability"] for entry in answer["classes"]}
        expected = colour_probs(pixels[answer["path"]][None])[0]
        np.testing.assert_allclose([found[name] for name in COLOURS], expected, atol=1e-6)
        ranked = [entry["probability"] for entry in answer["classes"]]
        assert ranked == sorted(ranked, reverse=True)


def test_a_picture_unlike_the_training_pictures_is_named_in_every_form(project: Path) -> None:
    """The model ``telling`` was trained on red alone, as far as it can tell."""
    telling = ("photos", "--model", "models/telling")
    out, _ = predict(project, *telling, "--top", "1")
    assert out == (
        "photos/a/same.jpg: red 100.0 %\n"
        "photos/b.png: blue 100.0 %; unlike the training pictures (2)\n"
        "photos/c/same.jpg: green 100.0 %; unlike the training pictures (1.5)\n"
    )
    answers = [json.loads(line) for line in predict(project, *telling, "--json")[0].splitlines()]
    assert [answer["unlike"] for answer in answers] == [False, True, True]
    assert [answer["unlikeness"] for answer in answers] == pytest.approx([0, 2, 1.5], abs=0.01)
    (project / "photos/d.png").write_bytes(b"hello")
    rows = list(csv.DictReader(io.StringIO(predict(project, *telling, "--csv", code=1)[0])))
    assert [row["unlike"] for row in rows] == ["false", "true", "true", ""]
    assert [row["unlikeness"] for row in rows[1:]] == [
        str(answers[1]["unlikeness"]),
        *([str(answers[2]["unlikeness"]), ""]),
    ]
    out, _ = predict(project, "photos/b.png", "--json")  # a model that does not tell it
    assert set(json.loads(out)) == {"path", "classes"}
    assert "unlike" not in predict(project, "photos/b.png", "--csv")[0]
    (project / "photos/d.png").unlink()
    told = watched(project, *telling)
    assert told == "3 pictures: 1 blue, 1 green, 1 red; 2 of them unlike the training pictures\n"


def test_csv_has_a_header_and_comes_back(project: Path) -> None:
    pixels = mixed(project)
    out, _ = predict(project, "mixed", "--csv", "--top", "2", code=1)
    rows = list(csv.DictReader(io.StringIO(out)))
    header = "path,error,gradcam,class_1,probability_1,class_2,probability_2"
    assert out.splitlines()[0] == header
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert {len(fields) for fields in csv.reader(io.StringIO(out))} == {7}
    assert [rows[2][name] for name in header.split(",")[2:]] == [""] * 5
    for row in rows:
        if not row["error"]:
            probs = colour_probs(pixels[row["path"]][None])[0]
            assert row["class_1"] == COLOURS[probs.argmax()]
            assert float(row["probability_1"]) == pytest.approx(probs.max(), abs=1e-6)
            assert float(row["probability_2"]) == pytest.approx(np.sort(probs)[1], abs=1e-6)


def test_probabilities_are_float32_to_the_bit(project: Path) -> None:
    """What is printed, read again, is what the network gave."""
    from pawprint.inference.classifier import Classifier

    pixels = mixed(project)
    out, _ = predict(project, "mixed", "--json", code=1)
    classifier = Classifier.open(project / "models/export")
    for answer in map(json.loads, out.splitlines()):
        if "classes" in answer:
            probs = classifier.probs(pixels[answer["path"]][None])[0]
            printed = [np.float32(entry["probability"]) for entry in answer["classes"]]
            assert printed == sorted(probs, reverse=True)


@pytest.mark.parametrize("arguments", [["--tta", "2"], ["--model", "models/averaged"]])
def test_two_views_are_the_mean_with_the_mirror_image(project: Path, arguments: list[str]) -> None:
    pixels = mixed(project)["mixed/mix5.png"][None]
    out, _ = predict(project, "mixed/mix5.png", "--json", *arguments)
    found = {entry["class"]: entry["probability"] for entry in json.loads(out)["classes"]}
    plain, mirrored = colour_probs(pixels)[0], colour_probs(pixels[:, :, ::-1])[0]
    assert np.abs(plain - mirrored).max() > 0.01
    expected = (plain + mirrored) / 2
    np.testing.assert_allclose([found[name] for name in COLOURS], expected, atol=1e-6)


NAMES: list[str | bytes] = [
    "line\nbreak.png",
    'quo"te, comma.png',
    "käfer 🐞.png",
    b"not\xffutf8.png",
]


@pytest.mark.parametrize("option", ["--json", "--csv", "--top=3"])
def test_odd_names_stay_on_one_line(project: Path, option: str) -> None:
    odd = project / "odd"
    odd.mkdir()
    for name in NAMES:
        (Path(os.fsdecode(os.fsencode(odd))) / os.fsdecode(name)).write_bytes(picture(RED))
    out, _ = predict(project, "odd", option)
    lines = out.splitlines()
    assert len(lines) == len(NAMES) + (option == "--csv")
    if option == "--json":
        paths = {json.loads(line)["path"] for line in lines}
        assert paths == {f"odd/{os.fsdecode(name)}" for name in NAMES}
    if option == "--csv":
        paths = {row["path"] for row in csv.DictReader(io.StringIO(out))}
        assert {"odd/line\\nbreak.png", 'odd/quo"te, comma.png', "odd/käfer 🐞.png"} < paths


def test_output_that_cannot_show_a_name_still_names_it(project: Path) -> None:
    (project / "käfer.png").write_bytes(picture(RED))
    done = run_python(
        *("-m", "pawprint", "predict", "käfer.png", "--top", "1"),
        cwd=project,
        PYTHONIOENCODING="ascii",
    )
    assert done.stdout == b"k\\xe4fer.png: red 100.0 %\n"


def test_overlays_of_namesakes_do_not_collide_and_are_stable(project: Path) -> None:
    arguments = ("photos", "-", "--gradcam", "maps/new", "--json")
    out, _ = predict(project, *arguments, stdin=picture(RED))
    overlays = {a["path"]: a["gradcam"] for a in map(json.loads, out.splitlines())}
    files = sorted(f"maps/new/{path.name}" for path in (project / "maps/new").iterdir())
    assert sorted(overlays.values()) == files
    assert len(files) == 4
    assert overlays["photos/a/same.jpg"].startswith("maps/new/same-")
    assert overlays["-"].startswith("maps/new/stdin-")
    contents = {file: (project / file).read_bytes() for file in files}
    # all of it speaks for red: 60 % of the picture, 40 % of the last colour of inferno
    pixels = np.asarray(Image.open(project / overlays["photos/a/same.jpg"]))
    np.testing.assert_allclose(
        pixels[9, 9], 0.6 * np.array(RED) + 0.4 * np.array([252, 255, 164]), atol=3
    )
    again, _ = predict(project, *arguments, stdin=picture(RED))
    assert again == out
    assert {file: (project / file).read_bytes() for file in files} == contents


def test_an_overlay_is_over_what_the_model_saw(project: Path) -> None:
    content = encode(Image.new("RGB", (40, 20), BLUE))
    options = ("-", "--model", "models/boxed", "--gradcam", "maps", "--opacity", "0", "--json")
    answer = json.loads(predict(project, *options, stdin=content)[0])
    seen = np.asarray(Image.open(project / answer["gradcam"]))
    np.testing.assert_array_equal(seen[[7, 8, 23, 24], 0], [FILL, BLUE, BLUE, FILL])
    probs = {entry["class"]: entry["probability"] for entry in answer["classes"]}
    expected = colour_probs(seen[None])[0]
    np.testing.assert_allclose([probs[name] for name in COLOURS], expected, atol=1e-6)


def test_the_command_imports_neither_tensorflow_nor_keras(project: Path) -> None:
    code = """
import sys
from pawprint.__main__ import main
assert main(["predict", "photos", "--gradcam", "maps", "--tta", "2", "--csv"]) == 0
heavy = {"tensorflow", "keras", "matplotlib", "cv2", "scipy", "torch"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run_python("-c", code, cwd=project)
    assert done.returncode == 0, done.stderr.decode()


def test_a_keras_file_gives_the_same_answers(project: Path) -> None:
    mixed(project)
    arguments = ("mixed", "--json")
    exported, _ = predict(project, *arguments, code=1)
    opened, err = predict(project, *arguments, "--model", "models/colours.keras", code=1)
    assert opened == exported
    assert err == ""


def many(project: Path, count: int) -> None:
    (project / "many").mkdir()
    for i in range(count):
        (project / f"many/{i:04}.png").write_bytes(picture((RED, GREEN, BLUE)[i % 3]))


def test_order_holds_over_many_batches(project: Path) -> None:
    many(project, 300)
    (project / "many/0100.png").write_bytes(b"hello")
    out, _ = predict(project, "many", "--top", "1", code=1)
    expected = [f"many/{i:04}.png: {COLOURS[i % 3]} 100.0 %" for i in range(300)]
    expected[100] = "many/0100.png: error: not a picture in a known format"
    assert out.splitlines() == expected


def test_a_reader_that_stops_is_no_error(project: Path) -> None:
    many(project, 300)
    command = f"{sys.executable} -m pawprint predict many --top 1 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "many/0000.png: red 100.0 %\n"
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("sources", [["-"], ["many", "-", "other"]])
def test_ctrl_c_ends_quietly(project: Path, sources: list[str]) -> None:
    many(project, 300)
    process = subprocess.Popen(
        [sys.executable, "-m", "pawprint", "predict", *sources, "--gradcam", "maps"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,  # from which nothing comes
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stderr
    maps = project / "maps"
    assert wait_until(lambda: maps.exists() or process.poll() is not None, 60)  # it has begun
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


def watched(project: Path, *arguments: str) -> str:
    """What the command says on a terminal that is its standard error."""
    command = [sys.executable, "-m", "pawprint", "predict", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with in_terminal(command, project, environment) as terminal:
        pass
    return terminal.text


def test_whoever_watches_is_told_at_the_end_what_was_found(project: Path) -> None:
    (project / "photos/d.png").write_bytes(picture(BLUE))
    (project / "photos/e.png").write_bytes(b"hello")
    assert watched(project, "photos") == "5 pictures: 2 blue, 1 green, 1 red, 1 not read\n"
    told = watched(project, "other/one.png", "--gradcam", "maps")
    assert told == "1 picture: 1 green; overlays: maps\n"
    assert watched(project, "other/one.png") == ""


def test_a_summary_of_many_classes_names_the_most_frequent() -> None:
    found = {f"class{i:02}": 100 - i for i in range(12)}
    assert summarize(found, 0, None).startswith("1,134 pictures: 100 class00, 99 class01, ")
    assert summarize(found, 0, None).endswith(", 91 class09, 179 of 2 other classes")


def test_what_a_model_decides_alone_is_said_in_every_form(project: Path) -> None:
    """Red is like the training pictures, blue and green are not, whatever their probabilities."""
    promising = str(promising_model(project / "models/telling", project / "promising"))
    asked = ("photos", "--model", promising, "--decide")
    out, _ = predict(project, *asked, "--top", "1")
    assert out == (
        "photos/a/same.jpg: red 100.0 %; decided\n"
        "photos/b.png: blue 100.0 %; unlike the training pictures (2); ask a person\n"
        "photos/c/same.jpg: green 100.0 %; unlike the training pictures (1.5); ask a person\n"
    )
    said = ["decided", "ask a person", "ask a person"]
    answers = [json.loads(line) for line in predict(project, *asked, "--json")[0].splitlines()]
    assert [answer["decision"] for answer in answers] == said
    rows = list(csv.DictReader(io.StringIO(predict(project, *asked, "--csv")[0])))
    assert [row["decision"] for row in rows] == said
    assert "decision" not in predict(project, "photos", "--model", promising, "--csv")[0]


def test_a_model_that_promises_nothing_decides_nothing_and_says_so(project: Path) -> None:
    promising_model(project / "models/telling", project / "none", threshold=None)
    out, err = predict(project, "photos/a", "--model", "none", "--decide", "--top", "1")
    assert out == "photos/a/same.jpg: red 100.0 %; ask a person\n"
    assert err.startswith("warning: model telling cannot promise that 99.5 % of what it decides is")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("models/telling", (), "it does not say what it may decide alone"),
        ("promising", ("--tta", "2"), "was measured without --tta 2"),
        ("wrong", (), "deciding: expected what stage deciding writes"),
    ],
)
def test_who_cannot_decide_alone_is_refused(
    project: Path, model: str, options: tuple[str, ...], reason: str
) -> None:
    promising_model(project / "models/telling", project / "promising")
    promising_model(project / "models/telling", project / "wrong", threshold="high")
    _, err = predict(project, "photos", "--model", model, "--decide", *options, code=2)
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": -3},
        {"threshold": 1.7},
        {"threshold": 10**400},
        {"precision": 7},
        {"model": "head"},
    ],
)
def test_a_promise_that_cannot_be_is_refused_in_one_line(
    project: Path, changes: dict[str, object]
) -> None:
    promising_model(project / "models/telling", project / "odd", **changes)
    _, err = predict(project, "photos", "--model", "odd", "--decide", code=2)
    assert "deciding: expected what stage deciding writes; found " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--json", "--csv", "--top=3"])
def test_a_name_in_another_encoding_is_escaped_and_stops_nothing(
    project: Path, option: str
) -> None:
    for name in (b"caf\xe9.png", b"caf\xe9-bad.png"):
        Path(os.fsdecode(os.fsencode(project) + b"/" + name)).write_bytes(
            b"hello" if b"bad" in name else picture(RED)
        )
    arguments = (b"caf\xe9.png", b"caf\xe9-bad.png", b"caf\xe9-none.png", option)
    out, err = predict(project, *arguments, "--gradcam", "maps", code=1)
    lines = out.splitlines()[option == "--csv" :]
    assert len(lines) == 3
    assert all(re.search(r"caf(\\x|\\u?dc)e9", line) for line in lines), lines
    assert "red" in lines[0]
    assert "not a picture" in lines[1]
    assert err == ""
    out, err = predict(project, b"caf\xe9-none.png", code=2)
    assert err.startswith(r"error: no pictures found (caf\udce9-none.png: no such file")


def test_the_project_of_another_encoding_is_no_hindrance(project: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(project) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "models").symlink_to(project / "models")
    out, _ = predict(odd, "../other/one.png", "--top", "1", "--gradcam", "maps")
    assert out == "../other/one.png: green 100.0 %\n"
    _, err = predict(odd, "../other/one.png", "--model", "none", code=2)
    assert r"caf\udce9/none: no such model" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_says_how_it_was_called(project: Path, command: str) -> None:
    done = run_python("-m", "pawprint", command, "--help", cwd=project)
    assert done.stdout.startswith(f"usage: python -m pawprint {command} [-h]".encode())


def test_without_a_command_they_are_listed_and_nothing_is_done(project: Path) -> None:
    done = run_python("-m", "pawprint", cwd=project)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"usage: python -m pawprint [-h] [--version] COMMAND")
    for name in COMMANDS:
        assert re.search(rf"\n  {name} +\w".encode(), done.stderr)


def test_from_another_directory_it_says_where_it_looked_and_what_to_do(project: Path) -> None:
    _, err = predict(project / "other", "one.png", code=2)
    assert err == (
        f"error: {project}/other/models/export: no such model; expected a directory that stage "
        "export wrote, or a .keras file: run this from the project's root, after dvc repro, or "
        "name a model by --model PATH\n"
    )
    assert predict(project / "other", "one.png", "--model", "../models/export")[0]
