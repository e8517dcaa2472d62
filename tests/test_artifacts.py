"""The exported model as an artifact: versions by tags, fetched by name from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from project import ROOT, Project

# covers: C4, R9

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
(NAME,) = PIPELINE["artifacts"]
ARTIFACT = PIPELINE["artifacts"][NAME]
WRITE = """
import pathlib, sys
directory = pathlib.Path(sys.argv[1])
directory.mkdir(parents=True)
(directory / "model.json").write_text(pathlib.Path("version.txt").read_text())
"""


def test_the_artifact_is_what_stage_export_writes():
    assert ARTIFACT["path"] in PIPELINE["stages"]["export"]["outs"]
    assert ARTIFACT["type"] == "model"
    assert Path(ARTIFACT["meta"]["card"]).parent == Path(ARTIFACT["path"])


def make_version(project: Project, text: str, tag: str) -> None:
    (project.root / "version.txt").write_text(text, encoding="utf-8")
    project.dvc("repro")
    project.dvc("push")
    project.commit()
    project.run("git", "tag", "--annotate", tag, "--message", text)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Our artifacts over one small stage, in two versions of which the first is in production."""
    work = tmp_path_factory.mktemp("registry")
    project = Project(work / "project", work / "home")
    for directory in (project.root, project.home):
        directory.mkdir()
    stage = {
        "cmd": f"python write.py {ARTIFACT['path']}",
        "deps": ["version.txt"],
        "outs": [ARTIFACT["path"]],
    }
    pipeline = {"stages": {"export": stage}, "artifacts": PIPELINE["artifacts"]}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    (project.root / "write.py").write_text(WRITE, encoding="utf-8")
    project.run("git", "init", "--quiet")
    project.dvc("init", "--quiet")
    project.dvc("remote", "add", "--default", "shared", str(work / "remote"))
    make_version(project, "first", f"{NAME}@v1.0.0")
    project.run("git", "tag", "--annotate", f"{NAME}#prod#1", "--message", "in production")
    make_version(project, "second", f"{NAME}@v1.1.0")
    return project


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ((), "second"),
        (("--rev", "v1.0.0"), "first"),
        (("--rev", "v1.1.0"), "second"),
        (("--stage", "prod"), "first"),
    ],
)
def test_a_version_is_fetched_by_its_tag(shared, tmp_path, options, version):
    elsewhere = Project(tmp_path, shared.home)
    elsewhere.dvc("artifacts", "get", str(shared.root), NAME, *options, "--out", "got")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["model.json"]
    assert elsewhere.read("got/model.json") == version


def test_a_version_that_is_not_there_is_refused(shared, tmp_path):
    elsewhere = Project(tmp_path, shared.home)
    options = ("--rev", "v9.0.0")
    outcome = elsewhere.dvc("artifacts", "get", str(shared.root), NAME, *options, fails=True)
    assert f"Unable to find artifact '{NAME}" in outcome.text
    assert list(tmp_path.iterdir()) == []
