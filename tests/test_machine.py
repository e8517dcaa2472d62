# covers: B1, B6
"""What made a result is recorded with it, and stays where another machine makes the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pawprint.runner import machine
from pawprint.runner.machine import describe_machine, record_machine

PIPELINE = """
stages:
  check: {deps: [a]}
  make: {outs: [data/made], metrics: [metrics/make.json: {cache: false}]}
  train: {outs: [model]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    for name in ("data/made/1", "metrics/make.json", "model"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends to be another machine."""

    def on(name: str) -> None:
        monkeypatch.setattr(machine, "describe_machine", lambda: {"processor": name})

    return on


def recorded() -> dict[str, list[str]]:
    """processor → stages whose results it made."""
    records = json.loads(Path("metrics/machine.json").read_text())
    return {record["machine"]["processor"]: list(record["made"]) for record in records}


@pytest.mark.usefixtures("project")
def test_the_same_bytes_of_another_machine_leave_the_record_as_it_is(on: Any) -> None:
    on("old")
    for stage in ("make", "train"):
        record_machine(stage)
    before = Path("metrics/machine.json").read_bytes()
    on("new")
    for stage in ("make", "train"):
        record_machine(stage)
    assert Path("metrics/machine.json").read_bytes() == before
    assert recorded() == {"old": ["make", "train"]}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("file", ["data/made/1", "data/made/2", "metrics/make.json"])
def test_other_bytes_are_recorded_under_the_machine_that_made_them(on: Any, file: str) -> None:
    on("old")
    for stage in ("make", "train"):
        record_machine(stage)
    on("new")
    Path(file).write_text("other")
    record_machine("make")
    assert recorded() == {"old": ["train"], "new": ["make"]}
    Path("model").write_text("other")
    record_machine("train")
    assert recorded() == {"new": ["make", "train"]}


@pytest.mark.usefixtures("project")
def test_a_stage_without_results_is_not_recorded() -> None:
    record_machine("check")
    assert not Path("metrics/machine.json").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "[1]", '{"made": {}}'])
def test_a_damaged_record_is_begun_anew_and_said_so(
    on: Any, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("metrics/machine.json").write_text(text)
    on("new")
    record_machine("make")
    assert capsys.readouterr().out == "metrics/machine.json is damaged; it is begun anew\n"
    assert recorded() == {"new": ["make"]}


def test_gpus_and_which_of_them_are_visible_are_part_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)
    assert describe_machine()["gpus"] == "none"
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\n"
    (tmp_path / "version").write_text(version)
    information = tmp_path / "gpus/0000:01:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA A100\nIRQ:   \t\t 35\n")
    assert describe_machine()["gpus"] == "NVIDIA A100; driver 550.54.14; visible: all"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert describe_machine()["gpus"] == "NVIDIA A100; driver 550.54.14; visible: none"
