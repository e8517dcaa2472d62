# covers: B1, B6
"""What made a result is recorded with it, and stays where another machine makes the same bytes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pawprint.runner import machine
from pawprint.runner.machine import describe_machine, name_maker

RECORD, RESULTS = Path("metrics/machine.json"), [Path("metrics/scores"), Path("model")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("metrics/scores").mkdir(parents=True)
    Path("metrics/scores/1").write_text("1")
    Path("model").write_text("model")
    return tmp_path


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Pretends to be another machine."""
    return lambda name: monkeypatch.setattr(machine, "describe_machine", lambda: {"cpu": name})


def record() -> list[str]:
    """Write down what made the results, and return it without their digest."""
    lines = name_maker(RECORD, RESULTS)
    RECORD.write_text(json.dumps(lines))
    assert lines[0].startswith("results: ")
    return lines[1:]


def commit() -> None:
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "state"],
    ):
        subprocess.run(["git", *command], check=True)


@pytest.mark.usefixtures("project")
def test_the_same_bytes_of_another_machine_leave_the_record_as_it_is(
    on: Callable[[str], None],
) -> None:
    on("old")
    record()
    commit()
    before = RECORD.read_bytes()
    RECORD.unlink()  # as DVC does before it runs a stage
    on("new")
    assert record() == ["cpu: old"]
    assert RECORD.read_bytes() == before


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("file", ["metrics/scores/1", "metrics/scores/2", "model"])
def test_other_bytes_are_recorded_under_the_machine_that_made_them(
    on: Callable[[str], None], file: str
) -> None:
    on("old")
    record()
    commit()
    on("new")
    Path(file).write_text("other")
    assert record() == ["cpu: new"]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("committed", [None, "<<<<<<< HEAD", "{}", '["cpu: old"]'])
def test_without_a_record_of_these_results_it_is_this_machine(
    on: Callable[[str], None], committed: str | None
) -> None:
    if committed is not None:
        RECORD.write_text(committed)
        commit()
    on("new")
    assert record() == ["cpu: new"]


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
