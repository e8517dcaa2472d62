"""An exported model that is not what the pipeline has by now: it answers, and that is said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Watched, expect, needs_chromium
from classifiers import run_python
from served import colours, in_process, picture, serving

from pawprint.answers.staleness import find_staleness
from pawprint.inference.classifier import Classifier
from pawprint.serving.models import open_models
from pawprint.serving.service import Service
from pawprint.serving.settings import Settings

# covers: R18

KERAS, SPLIT = "models/finetuned.keras", "data/split.csv"


def change_card(project: Path, **values: Any) -> None:
    path = project / "models/export/model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose models/export was made of the files that are there."""
    shutil.copytree(colours(), tmp_path / "models/export")
    hashes = {}
    for name in (KERAS, SPLIT):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        hashes[name] = hashlib.md5(name.encode()).hexdigest()
    change_card(tmp_path, name="finetuned", hashes=hashes)
    (tmp_path / "red.png").write_bytes(picture("red"))
    return tmp_path


def warned(project: Path, *arguments: str, cwd: str = ".") -> str:
    """What predict says of the model on standard error, while it answers all the same."""
    done = run_python("-m", "pawprint", "predict", *arguments, cwd=project / cwd)
    assert done.returncode == 0, done.stderr.decode()
    assert b"red.png: red" in done.stdout
    return done.stderr.decode()


def line(changed: str, directory: str = "models/export") -> str:
    return (
        f"warning: {directory}: finetuned was exported before {changed}; "
        "`dvc repro` exports it anew\n"
    )


def test_another_training_is_noticed_until_the_model_is_exported_again(project):
    assert warned(project, "red.png") == ""
    (project / KERAS).write_bytes(b"another training")  # as dvc exp run evaluate leaves it
    assert warned(project, "red.png") == line(f"{KERAS} changed")
    told = warned(project, "../red.png", "--model", "export", cwd="models")
    assert told == line(f"{KERAS} changed", "export")
    (project / SPLIT).write_bytes(b"other pictures")
    assert warned(project, "red.png") == line(f"{SPLIT} and {KERAS} changed")
    hashes = {
        name: hashlib.md5((project / name).read_bytes()).hexdigest() for name in (KERAS, SPLIT)
    }
    change_card(project, hashes=hashes)
    assert warned(project, "red.png") == ""


def staleness(project: Path) -> str:
    directory = project / "models/export"
    return find_staleness(Classifier.open(directory).card, directory)


def test_a_training_that_was_stopped_is_noticed_and_a_copy_of_the_export_is_not(project):
    (project / KERAS).unlink()  # as after dvc pull models/export
    assert staleness(project) == ""
    (project / ".resume/finetune/key").mkdir(parents=True)  # DVC deleted it before the stage ran
    assert "was exported before its training was begun anew, which has not" in staleness(project)
    shutil.move(project / "models/export", project / "elsewhere/models/export")
    assert find_staleness(
        Classifier.open(project / "elsewhere/models/export").card,
        project / "elsewhere/models/export",
    ) == ("")


LOSSES = {"baseline": 0.3, "head": 0.04, "finetuned": 0.03}
FIGURES = {
    "baseline": "metrics/train_baseline.json",
    "head": "metrics/train_head.json",
    "finetuned": "metrics/finetune.json",
}


@pytest.fixture
def chosen(project: Path) -> Path:
    """The same, where the model was exported as the best of three."""
    (project / "metrics").mkdir()
    for name, loss in LOSSES.items():
        train(project, name, loss)
    change_card(project, val_log_losses=LOSSES)
    return project


def train(project: Path, name: str, loss: float) -> None:
    figures = {"epochs": 3, "val_log_loss": loss}
    (project / FIGURES[name]).write_text(json.dumps(figures))


def test_a_training_that_makes_another_model_the_best_is_noticed(chosen):
    assert warned(chosen, "red.png") == ""
    train(chosen, "baseline", 0.1)  # better than it was, and still not the best
    assert staleness(chosen) == ""
    train(chosen, "head", 0.0251)
    better = "became the best on validation (log loss 0.0251, that of finetuned is 0.03)"
    assert warned(chosen, "red.png") == line(f"head {better}")
    change_card(chosen, val_log_losses={})  # as where export.model names it
    assert staleness(chosen) == ""


def test_another_promise_of_what_it_decides_alone_is_noticed(project):
    """Where the pipeline has another threshold by now; not where that is of another model."""
    promise = {"model": "finetuned", "threshold": 0.97}
    path = project / "metrics/deciding/service.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(promise))
    assert staleness(project) == ""  # its card says nothing of deciding alone
    change_card(project, deciding=promise)
    assert staleness(project) == ""
    path.write_text(json.dumps(promise | {"threshold": 0.98}))
    assert "before stage deciding found anew what it may decide alone;" in staleness(project)
    path.write_text(json.dumps({"model": "head", "threshold": 0.98}))
    assert staleness(project) == ""
    path.write_text("no JSON")
    assert staleness(project) == ""


def test_another_k_of_unlikeness_is_noticed_of_any_model_that_tells_it(project):
    path = project / "metrics/deciding/service.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"model": "head", "unlike_above": 2.0}))
    assert staleness(project) == ""  # it does not tell unlikeness
    directory = project / "models/export"
    card = replace(Classifier.open(directory).card, unlike_above=2.0)
    assert find_staleness(card, directory) == ""
    other = replace(card, unlike_above=1.5)
    assert "before unlikeness.k became 2 (its own is 1.5);" in find_staleness(other, directory)
    for odd in ("1.0", [1], True, None):
        path.write_text(json.dumps({"model": "head", "unlike_above": odd}))
        assert find_staleness(other, directory) == ""
    path.write_text("[" * 100_000)
    assert find_staleness(other, directory) == ""


def test_one_that_got_worse_itself_is_not_the_best_any_more(chosen):
    train(chosen, "finetuned", 0.05)
    assert "before head became the best on validation (log loss 0.04, " in staleness(chosen)


def test_of_models_that_are_equal_the_export_stage_takes_the_first(chosen):
    train(chosen, "head", LOSSES["finetuned"])
    assert "before head became the best" in staleness(chosen)


def test_what_others_lack_is_taken_as_it_was_when_one_was_chosen(chosen):
    for name in ("baseline", "finetuned"):
        (chosen / FIGURES[name]).unlink()  # as where DVC has brought a part of it
    assert staleness(chosen) == ""
    train(chosen, "head", 0.02)
    assert "before head became the best" in staleness(chosen)
    for odd in ("{", "[]", '{"val_log_loss": "low"}', "null", '{"val_log_loss": null}'):
        (chosen / FIGURES["head"]).write_text(odd)
        assert staleness(chosen) == ""
    (chosen / FIGURES["head"]).unlink()
    os.mkfifo(chosen / FIGURES["head"])
    assert staleness(chosen) == ""


def test_an_ensemble_that_is_no_longer_made_is_noticed(project):
    file, figures = project / "models/ensemble/ensemble.keras", project / "metrics/ensemble.json"
    change_card(project, name="ensemble", hashes={file.relative_to(project).as_posix(): "0" * 32})
    assert staleness(project) == ""  # as where DVC has brought the export alone
    figures.parent.mkdir()
    figures.write_text("{}")  # as the stage leaves it
    assert "before ensemble.picks became 0, so that there is no ensemble" in staleness(project)
    figures.write_text('{"val_log_loss": 0.1}')
    assert staleness(project) == ""


def test_a_training_of_a_rival_that_was_stopped_is_noticed(chosen):
    (chosen / ".resume/train_head/key").mkdir(parents=True)
    (chosen / FIGURES["head"]).unlink()
    begun = "the training of head was begun anew, which has not made models/head.keras yet"
    assert f"before {begun};" in staleness(chosen)
    change_card(chosen, val_log_losses={})
    assert staleness(chosen) == ""


def test_an_evaluation_with_the_mirror_images_is_not_of_an_export_without(project):
    details = project / "metrics/evaluate/details.json"
    details.parent.mkdir(parents=True)
    for of_export, judged, told in (
        (1, {"tta": 1}, ""),
        (1, {"tta": 2}, "evaluate.tta: 2 (its own is 1);"),
        (2, {"tta": 2}, ""),
        (2, {"tta": 1}, "evaluate.tta: 1 (its own is 2);"),
        (2, {}, ""),  # as of evaluations from before there was such a key
    ):
        change_card(project, tta=of_export)
        details.write_text(json.dumps({"models": {}, **judged}))
        found = staleness(project)
        assert (told in found) if told else found == ""
        assert found == "" or "before stage evaluate judged the models with" in found


def test_what_cannot_be_compared_is_no_hindrance(project):
    (project / KERAS).unlink()
    (project / KERAS).mkdir()
    assert staleness(project) == ""
    (project / KERAS).rmdir()
    os.mkfifo(project / KERAS)  # whose reader would wait for ever
    assert staleness(project) == ""
    (project / KERAS).unlink()
    (project / "outside").write_bytes(b"x")
    names = (str(project / "outside"), "models/../outside", "../outside")
    change_card(project, hashes=dict.fromkeys(names, "0" * 32))
    assert staleness(project) == ""


def model_of(project: Path) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        settings = Settings(model=str(project / "models/export"))
        async with in_process(Service(settings, open_models(settings))) as client:
            (model,) = (await client.get("/v1/model")).json()["models"]
            return model

    return asyncio.run(asyncio.wait_for(ask(), 60))


def test_the_server_tells_it(project):
    assert model_of(project)["stale"] is False
    (project / KERAS).write_bytes(b"another training")
    assert model_of(project)["stale"] is True


@needs_chromium
def test_the_page_and_the_log_tell_it(browser, project):
    notice = "dvc repro exports it anew"
    directory = str(project / "models/export")
    for stale in (False, True):
        if stale:
            (project / KERAS).write_bytes(b"another training")
        with serving("--model", directory) as server:
            watched = Watched(browser, server.address)
            watched.page.goto("/")
            watched.page.locator(".card").wait_for()
            expect(watched.page.get_by_text(notice)).to_have_count(1)
            expect(watched.page.get_by_text(notice)).to_be_visible(visible=stale)
            watched.close()
            warnings = [entry["message"] for entry in server.log if entry["level"] == "warning"]
        expected = line(f"{KERAS} changed", directory).removeprefix("warning: ").rstrip()
        assert warnings == ([expected] if stale else [])
