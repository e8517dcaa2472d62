"""`make repro` without its installation: what it says, and that it needs no git."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from project import ROOT, Project

# covers: C1

WRITE = """
import pathlib
for path in ("metrics/evaluate/report.md", "models/export/model.json"):
    pathlib.Path(path).parent.mkdir(parents=True)
    pathlib.Path(path).write_text("the comparison of the models\\n## Each class\\n")
"""
OUTS = ["metrics/evaluate", "models/export"]
FIRST = "The first run needs "


@pytest.fixture
def unpacked(tmp_path: Path) -> Project:
    """A source zip with one small stage, and an environment that counts as installed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    project = Project(tmp_path / "project", tmp_path / "home")
    project.home.mkdir()
    (project.root / ".venv").mkdir(parents=True)
    ignored = (".gitignore", "metrics/.gitignore", "models/.gitignore", ".dvcignore")
    for name in ("Makefile", "requirements.txt", *ignored):
        (project.root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, project.root / name)
    shutil.copytree(ROOT / ".dvc", project.root / ".dvc", ignore=lambda _, names: {"cache", "tmp"})
    (project.root / ".venv/installed").touch()
    stage = {"cmd": "python write.py", "deps": ["write.py"], "outs": OUTS}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": stage}}))
    (project.root / "write.py").write_text(WRITE, encoding="utf-8")
    return project


def test_make_repro_runs_in_a_source_zip(unpacked):
    first = unpacked.run("make", "repro")
    assert first.stages == ["evaluate"]
    assert first.text.startswith(FIRST)
    assert "No git here: " in first.text
    assert "the comparison of the models" in first.text
    assert "Each class" not in first.text
    second = unpacked.run("make", "repro")
    assert second.stages == []
    assert FIRST not in second.text
    assert (unpacked.root / ".dvc/plots.html").is_file()


def test_git_that_comes_later_is_used_after_one_command(unpacked):
    unpacked.run("make", "repro")
    unpacked.run("git", "init", "--quiet")
    unpacked.commit()
    unpacked.dvc("config", "core.no_scm", "false")
    assert "No git here" not in unpacked.run("make", "repro").text
    assert unpacked.dvc("exp", "run", "--force", "--name", "later").stages == ["evaluate"]
    assert "later" in unpacked.dvc("exp", "list").text


def test_in_a_clone_git_is_used(unpacked):
    unpacked.run("git", "init", "--quiet")
    unpacked.commit()
    outcome = unpacked.run("make", "repro")
    assert outcome.stages == ["evaluate"]
    assert "No git here" not in outcome.text
    assert "no_scm" not in unpacked.read(".dvc/config")
