# covers: B14, B2, B3, C5, R3
"""Where candidates run: DVC works in a clone, the workspace stays as it is.

The whole command runs in tests/test_pipeline.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from living import descendants, living, wait_until
from project import ROOT, Project, environment

from pawprint.comparison.trees import find_project
from pawprint.runner.errors import DataError, PawprintError
from pawprint.workplaces.snapshots import WantedExperiment, carry_out, pack, receive
from pawprint.workplaces.workplace import open_workplace

# Stages that take no time; of the second, one that waits while a file is there
STAGE = f"""
import json, pathlib, sys, time, yaml
sys.path.append({str(ROOT)!r})
from pawprint.runner.processes import end_with_dvc
end_with_dvc()
name, held = sys.argv[1], pathlib.Path(sys.argv[2])
params = yaml.safe_load(open("params.yaml"))
if name == "split":
    pathlib.Path("split.txt").write_text(str(params["data"]["seed"]))
elif name == "preprocess":
    pathlib.Path("pixels").mkdir()
    text = pathlib.Path("split.txt").read_text() + pathlib.Path("weights/w").read_text()
    pathlib.Path("pixels/p").write_text(text + str(params["picture"]["px"]))
else:
    pathlib.Path(".resume").mkdir(exist_ok=True)
    pathlib.Path(".resume/half").write_text("half")
    while held.exists():
        time.sleep(0.02)
    pixels = pathlib.Path("pixels/p").read_text()
    pathlib.Path("score.json").write_text(json.dumps(pixels))
"""
DVC_YAML = """
stages:
  split:
    cmd: python stage.py split {held}
    params: [data]
    deps: [stage.py]
    outs: [split.txt]
  preprocess:
    cmd: python stage.py preprocess {held}
    params: [picture]
    deps: [stage.py, split.txt, weights]
    outs: [pixels]
  score:
    cmd: python stage.py score {held}
    deps: [stage.py, pixels]
    metrics:
      - score.json:
          cache: false
"""
RUN = """
import sys
from pathlib import Path
from pawprint.workplaces.workplace import open_workplace
with open_workplace(("preprocess", "score"), "split", Path(".resume/rank"), "rank") as workplace:
    half = workplace.root / ".resume/half"
    kept = half.read_text() if half.exists() else ""
    print(workplace.run("rank-one", {"picture.px": "64"}, Path(sys.argv[1])), kept)
"""
PLACE = (("preprocess", "score"), "split", Path(".resume/rank"), "rank")


@pytest.fixture(scope="module")
def small() -> Iterator[Project]:
    """A project of three quick stages, of which the first has run; tests leave it as it is."""
    with tempfile.TemporaryDirectory() as directory:
        project = Project(Path(directory, "größe 1"), Path(directory, "home"))
        for path, text in {
            "stage.py": STAGE,
            "dvc.yaml": DVC_YAML.format(held=Path(directory, "held")),
            "params.yaml": "data: {seed: 1}  # kept\npicture: {px: 32}\n",
            "weights/w": "-w-",
            ".gitignore": "/weights\n/.resume\n",
            ".dvcignore": "/.resume\n",
        }.items():
            (project.root / path).parent.mkdir(parents=True, exist_ok=True)
            (project.root / path).write_text(text, encoding="utf-8")
        project.run("git", "init", "--quiet")
        project.dvc("init", "--quiet")
        project.dvc("repro", "--quiet", "split")
        project.commit()
        yield project


@pytest.fixture
def here(small: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of it that a test may change, in which this process works."""
    project = small.copy(tmp_path / "größe 1")  # DVC writes its settings in ASCII
    monkeypatch.chdir(project.root)
    for name, value in environment(project.home).items():
        monkeypatch.setenv(name, value)
    return project


def state(project: Project) -> tuple[object, ...]:
    files = ("params.yaml", "dvc.lock", "dvc.yaml", ".git/HEAD")
    staged = project.run("git", "diff", "--cached").text
    return (project.changes(), staged, *(project.read(file) for file in files))


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
@pytest.mark.parametrize("committed", [True, False])
def test_what_dvc_add_knows_comes_along_as_it_lies_there(here: Project, committed: bool) -> None:
    here.dvc("add", "--quiet", "weights")
    if committed:
        here.commit()
    (here.root / "weights/w").unlink()  # may be a link into the cache
    (here.root / "weights/w").write_text("-changed-", encoding="utf-8")
    with open_workplace(*PLACE) as workplace:
        assert (workplace.root / "weights/w").read_text(encoding="utf-8") == "-changed-"


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_another_machine_makes_the_same_experiment_from_a_snapshot(
    here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this project is there; what comes back is an experiment with all its files."""
    (here.root / "stage.py").write_text(STAGE + "# changed\n", encoding="utf-8")
    here.dvc("repro", "--quiet", "split")
    snapshot, changes = tmp_path / "snapshot.tar", {"picture.px": "64"}
    with open_workplace(*PLACE) as workplace:
        workplace.run("here", changes, tmp_path / "log.txt")
        pack(workplace, changes, snapshot)
    shutil.rmtree(here.root / ".dvc/cache/runs")
    pixels = here.root / "pixels"  # of the experiment: in no other's cache
    for path in (here.root / ".dvc/cache/files/md5").rglob("*"):
        if path.is_file() and path.read_bytes() == b"1-w-64":
            path.unlink()

    away = tmp_path / "away"
    away.mkdir()
    os.rename(here.root, tmp_path / "hidden")
    monkeypatch.chdir(away)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(away))
    monkeypatch.setattr("tempfile.tempdir", str(away))
    left = away / "pawprint-task-of-a-killed-process"
    left.mkdir()
    (left / "held").touch()
    os.utime(left / "held", (0, 0))
    with open(snapshot, "rb") as opened:
        delivery = carry_out(WantedExperiment("away", changes), opened)
        refused = carry_out(WantedExperiment("wrong", {"no.such": "1"}), opened)
    assert (delivery.ran, delivery.failed) == (["preprocess", "score"], None)
    assert (refused.bundle, refused.ran) == (b"", [])
    assert refused.failed is not None
    assert "no.such" in refused.failed[1]
    assert not list(away.glob("pawprint-*"))
    os.rename(tmp_path / "hidden", here.root)
    monkeypatch.chdir(here.root)

    damaged = {path: content + b"?" for path, content in delivery.files.items()}
    with pytest.raises(PawprintError, match=r"^away: files/md5/.* was damaged on its way"):
        receive(find_project(), workplace.commit, "away", replace(delivery, files=damaged))
    receive(find_project(), workplace.commit, "away", delivery)
    assert set(here.dvc("exp", "list", "--name-only").text.split()) == {"here", "away"}
    assert here.run("git", "diff", "--stat", *names_of(here, "here", "away")).text == ""
    here.run("git", "stash", "--quiet")
    here.dvc("exp", "apply", "away")
    assert (pixels / "p").read_text(encoding="utf-8") == "1-w-64"
    assert here.dvc("status").text.strip() == "Data and pipelines are up to date."


def names_of(project: Project, *experiments: str) -> list[str]:
    """The references of some experiments."""
    found = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").text.split()
    return [name for each in experiments for name in found if name.endswith(f"/{each}")]


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_candidates_are_experiments_of_the_workspace_as_it_is(
    here: Project, tmp_path: Path
) -> None:
    """With what is changed, staged, and not known to git; and the workspace is left alone."""
    (here.root / "weights/w").write_text("-other-", encoding="utf-8")
    (here.root / "stage.py").write_text(STAGE + "# changed\n", encoding="utf-8")
    (here.root / "new.txt").write_text("staged", encoding="utf-8")
    here.run("git", "add", "new.txt")
    here.dvc("repro", "--quiet", "split")
    before = state(here)
    with open_workplace(*PLACE) as workplace:
        log = tmp_path / "log.txt"
        assert workplace.run("rank-one", {"picture.px": "64"}, log) == ["preprocess", "score"]
    assert state(here) == before
    assert not (here.root / ".resume/rank/clone").exists()
    shown = here.run("git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").text
    assert shown.split() == ["rank-one"]

    here.run("git", "stash", "--quiet")  # an experiment replaces what is not committed
    applied = here.dvc("exp", "apply", "rank-one")
    assert "Changes for experiment 'rank-one'" in applied.text
    assert here.read("new.txt") == "staged"
    assert here.read("params.yaml") == "data: {seed: 1}  # kept\npicture: {px: 64}\n"
    assert json.loads(here.read("score.json")) == "1-other-64"
    assert here.dvc("repro").stages == []


def test_killed_it_leaves_the_workspace_alone_and_goes_on(here: Project, tmp_path: Path) -> None:
    (here.root / "params.yaml").write_text("data: {seed: 1}\npicture: {px: 16}\n", encoding="utf-8")
    held = Path(here.home.parent, "held")
    held.touch()
    before = state(here)
    half = here.root / ".resume/rank/clone/.resume/half"
    process = start(here, tmp_path)
    assert wait_until(half.exists, 120)
    family = descendants(process.pid)
    assert len(family) >= 3  # it, DVC and the stage
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert wait_until(lambda: not living(family), 20)
    assert state(here) == before
    half.write_text("kept", encoding="utf-8")
    held.unlink()
    printed, errors = start(here, tmp_path).communicate(timeout=600)
    assert printed == "['score'] kept\n", errors  # what was finished is in the cache
    assert state(here) == before


def start(project: Project, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(directory / "log.txt")],
        cwd=project.root,
        env=environment(project.home) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_what_does_not_fit_is_said_before_anything_is_computed(here: Project) -> None:
    with open_workplace(*PLACE), pytest.raises(PawprintError, match="another rank is at work"):
        open_workplace(*PLACE).__enter__()
    (here.root / "params.yaml").write_text("data: {seed: 2}\npicture: {px: 32}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"^stage split: not run yet, or .* run `dvc repro split`"):
        open_workplace(*PLACE).__enter__()
    here.run("git", "update-ref", "-d", "HEAD")
    with pytest.raises(PawprintError, match="experiments need a commit: `git add "):
        open_workplace(*PLACE).__enter__()
    here.dvc("config", "core.no_scm", "true")
    with pytest.raises(PawprintError, match="expected a git repository, found none"):
        open_workplace(*PLACE).__enter__()
    assert not (here.root / ".resume/rank/clone").exists()
