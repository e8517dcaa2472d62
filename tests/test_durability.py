# covers: B1, B3
"""What is left when a run is killed, finds no room, or may not write; and how it goes on."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from living import descendants, living, wait_until
from project import Project, environment, make_project

from pawprint.evaluation.results import write_figures
from pawprint.runner.files import atomic_directory, atomic_write, move_directory
from pawprint.storage.shards import write_shard

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
SHARDS = 6  # of 128 pictures or fewer: four of train, one of val, one of test
DONE, NOT_DONE = 3, r"journal/0000[345]\.json"
CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_log_loss")


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def base(work: Path) -> Project:
    """Drawn pictures, decoded by an undisturbed run."""
    params = {"data.sample_images": 600, "preprocess.image_size": 256}
    project = make_project(work / "base", work / "home", params)
    assert project.dvc("repro", "preprocess").stages == ["download", "split", "preprocess"]
    project.commit()
    return project


@pytest.fixture
def again(base: Project, work: Path) -> Iterator[Project]:
    """A copy in which preprocess has not run: its results are neither there nor in the cache."""
    project = base.copy(work / "again")
    shutil.rmtree(project.root / "data/processed")
    shutil.rmtree(project.root / ".dvc/cache/runs")
    stages = (project.root / "dvc.lock").read_text(encoding="utf-8")
    (project.root / "dvc.lock").write_text(stages[: stages.index("  preprocess:")])
    yield project
    shutil.rmtree(project.root)


def results(project: Project) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in project.lock()["preprocess"]["outs"]}


def notes(project: Project) -> list[Path]:
    return sorted((project.root / ".resume").glob("preprocess/*/journal/*.json"))


def start(project: Project, output: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", "repro", "preprocess"],
        cwd=project.root,
        env=environment(project.home) | {"HELD": NOT_DONE},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(project: Project, sent: signal.Signals, to_all: bool) -> str:
    """Run, and send a signal when three shards are done; what had been printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        dvc = start(project, output)
        try:
            assert wait_until(lambda: len(notes(project)) == DONE, 120)
            family = descendants(dvc.pid)
            (os.killpg if to_all else os.kill)(dvc.pid, sent)
            assert dvc.wait(10) != 0
            assert wait_until(lambda: not living(family), 3), "processes outlive DVC"
        finally:
            if dvc.poll() is None:
                os.killpg(dvc.pid, signal.SIGKILL)
                dvc.wait()
        output.seek(0)
        return output.read()


@linux
@pytest.mark.parametrize(
    ("sent", "to_all"),
    [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGINT, True)],
    ids=["DVC is killed", "all are killed", "Ctrl-C"],
)
def test_a_stopped_run_continues_and_ends_with_the_same_bytes(base, again, sent, to_all):
    text = stop(again, sent, to_all)
    if sent == signal.SIGINT:
        assert "error: interrupted; `dvc repro` continues this stage where it was\n" in text
        assert "Traceback" not in text
    assert not (again.root / "data/processed").exists()
    text = again.dvc("repro", "preprocess").text
    assert f"continuing: {DONE} of {SHARDS} shards were done\n" in text
    assert results(again) == results(base)
    assert again.changes() == ""
    assert not (again.root / ".resume/preprocess").exists()


@linux
def test_damaged_work_and_that_of_other_parameters_are_not_used(base, again):
    stop(again, signal.SIGKILL, to_all=True)
    first = notes(again)[0].parents[1] / "processed/train/00000.npy"
    with open(first, "r+b") as file:
        file.truncate(first.stat().st_size // 2)
    text = again.dvc("repro", "preprocess").text
    assert f"continuing: {DONE - 1} of {SHARDS} shards were done\n" in text
    assert results(again) == results(base)

    again.set_params({"preprocess.image_size": 255})
    stop(again, signal.SIGKILL, to_all=True)
    (old,) = (again.root / ".resume/preprocess").iterdir()
    again.set_params({"preprocess.image_size": 64})
    assert "continuing" not in again.dvc("repro", "preprocess").text
    assert not old.exists()


@linux
def test_no_room_is_one_line_and_the_old_results_come_back(base, work, monkeypatch):
    project = base.copy(work / "full")
    (project.root / ".git/opened.txt").unlink()  # it has grown beyond the limit
    project.set_params({"preprocess.image_size": 255})
    with monkeypatch.context() as patched:
        patched.setenv("FILES_UP_TO", "500000")  # more than the list of opened files needs
        outcome = project.dvc("repro", "preprocess", fails=True)
    assert outcome.stages == ["preprocess"]
    (line,) = (line for line in outcome.text.splitlines() if line.startswith("error: "))
    assert line.startswith("error: .resume/preprocess/")
    assert line.endswith(".npy: File too large; free some space, then run `dvc repro` again")
    assert "Traceback" not in outcome.text
    assert not (project.root / "data/processed").exists()  # DVC deletes before it runs
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock", "metrics")
    project.dvc("checkout", "preprocess")
    assert project.dvc("status", "preprocess").text.strip().endswith("are up to date.")
    assert project.dvc("repro", "preprocess").stages == []
    shutil.rmtree(project.root)


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # of Linux's <sys/prctl.h> and <sys/capability.h>


def obey_permissions() -> None:
    """Have the program that this process becomes obey them, though it be root's."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise PermissionError


@linux
def test_a_read_only_directory_is_one_line(base, work):
    project = base.copy(work / "readonly")
    (project.root / "metrics").chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stages.preprocess"],
            cwd=project.root,
            env=environment(project.home),
            capture_output=True,
            text=True,
            preexec_fn=obey_permissions,
        )
    except subprocess.SubprocessError:
        pytest.skip("root may write anywhere, and may not give that up here")
    finally:
        (project.root / "metrics").chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: metrics/preprocess.json.tmp: Permission denied; "
        "allow this user to read and write there, then run `dvc repro` again"
    )
    shutil.rmtree(project.root)


def test_a_cache_on_another_file_system_holds_the_same_bytes(base, again):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == again.root.stat().st_dev:
        pytest.skip("no other file system to write to")
    with tempfile.TemporaryDirectory(dir=elsewhere) as cache:
        again.dvc("cache", "dir", "--local", cache)
        assert again.dvc("repro", "preprocess").stages[-1] == "preprocess"
        assert results(again) == results(base)
        shutil.rmtree(again.root / "data/processed")
        again.dvc("checkout", "preprocess")
        assert again.dvc("status", "preprocess").text.strip().endswith("are up to date.")


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No file of this process may grow beyond 4 KB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_shard_without_room_names_itself_and_leaves_nothing(tmp_path):
    path = tmp_path / "00000.npy"
    with pytest.raises(OSError, match=r"File too large: .*00000\.npy'$"):
        write_shard(path, np.zeros(8192, np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_figures_without_room_leave_those_of_before(tmp_path, request):
    labels, probs = np.array([0, 1, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]] * 2, np.float32)
    history = {"train_head": [dict.fromkeys(CURVES, 0.5) | {"epoch": 1.0}]}
    figures = tmp_path / "figures"

    def write() -> None:
        write_figures(figures, labels, {"head": probs}, ["cat", "dog"], 5, history)

    write()
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert "roc.png" in before
    request.getfixturevalue("_small_files")
    with pytest.raises(OSError, match=r"File too large: .*figures'$"):
        write()
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before
    assert list(tmp_path.iterdir()) == [figures]


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made"

    def fill(text: str, fails: bool) -> None:
        with atomic_directory(path) as directory:
            (directory / f"{text}.txt").write_text(text)
            if fails:
                raise ValueError

    (tmp_path / "made.tmp").mkdir()  # of a killed process
    (tmp_path / "made.tmp/half.txt").touch()
    fill("first", fails=False)
    assert [file.name for file in path.iterdir()] == ["first.txt"]
    with pytest.raises(ValueError, match=r"^$"):
        fill("second", fails=True)
    assert [file.name for file in path.iterdir()] == ["first.txt"]
    fill("third", fails=False)
    assert [file.name for file in path.iterdir()] == ["third.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_get_its_name_leaves_the_old_one(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    for directory in (source, target):
        directory.mkdir()
        (directory / "name.txt").write_text(directory.name)
    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if old == source:
            raise OSError(5, "Input/output error", str(new))
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        move_directory(source, target)
    assert (target / "name.txt").read_text() == "target"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made.json"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_is_moved_to_another_file_system(tmp_path):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system to write to")
    with tempfile.TemporaryDirectory(dir=elsewhere) as directory:
        (tmp_path / "source/train").mkdir(parents=True)
        Path(directory, "target").mkdir()
        Path(directory, "target/old.npy").touch()
        (tmp_path / "source/train/00000.npy").write_bytes(b"rows")
        move_directory(tmp_path / "source", Path(directory, "target"))
        assert Path(directory, "target/train/00000.npy").read_bytes() == b"rows"
        assert not Path(directory, "target/old.npy").exists()
        assert [path.name for path in Path(directory).iterdir()] == ["target"]
    assert not (tmp_path / "source").exists()
