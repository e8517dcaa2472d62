"""An exported model that is not what the pipeline has by now: it answers, and that is said."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
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
