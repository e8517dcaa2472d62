# covers: B1, C4, C5
"""Results that others get without computing them, and runs that get in each other's way."""

from __future__ import annotations

import csv
import getpass
import importlib.util
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from living import descendants, wait_until
from project import Project, environment
from ten_classes import CLASS_SIZES, whole_run

CLEAN = "Data and pipelines are up to date."
PICTURES = "pictures.zip"


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def base(work: Path) -> Project:
    """A whole run, whose pictures every clone finds outside of it."""
    project = whole_run().copy(work / "base")
    shutil.copyfile(project.root / "data/raw/images.zip", work / PICTURES)
    for name in CLASS_SIZES:
        shutil.rmtree(project.root / "data/source" / name)
    project.set_params({"data.source": "archive", "data.archive": str(work / PICTURES)})
    assert project.dvc("repro").stages == ["params", "download"]
    project.commit()
    return project


@pytest.fixture
def copied(base: Project, work: Path) -> Iterator[Project]:
    project = base.copy(work / "copy")
    yield project
    shutil.rmtree(project.root)


def outputs(project: Project) -> set[str]:
    return {out["path"] for stage in project.lock().values() for out in stage.get("outs", [])}


def share(project: Project, clone: Path, address: str, options: dict[str, str]) -> list[str]:
    """Push all results to a remote; a fresh clone must get them.

    Returns:
        The stages that the clone's repro runs.
    """
    project.dvc("remote", "add", "--default", "shared", address)
    for name, value in options.items():
        project.dvc("remote", "modify", "shared", name, value)
    project.commit()
    project.dvc("push")
    project.run("git", "clone", "--quiet", str(project.root), str(clone))
    other = Project(clone, project.home)
    missing = {path for path in outputs(other) if not (clone / path).exists()}
    assert {"models/finetuned.keras", "data/processed", "plots/gradcam"} <= missing
    other.dvc("pull")
    assert {path for path in outputs(other) if not (clone / path).exists()} == set()
    assert other.dvc("status").text.strip() == CLEAN
    stages = other.dvc("repro").stages
    assert other.changes() == ""
    shutil.rmtree(clone)
    return stages


def test_a_clone_pulls_from_a_directory_and_has_nothing_to_do(copied, work):
    assert share(copied, work / "clone", str(work / "remote"), {}) == []


@pytest.fixture
def ssh_server(work: Path) -> Iterator[tuple[int, Path]]:
    """An SSH server of this user on this machine: its port, and the key that opens it."""
    if importlib.util.find_spec("dvc_ssh") is None:
        pytest.skip("dvc-ssh is not installed (pip install dvc-ssh)")
    paths = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    sshd, keygen = (shutil.which(name, path=paths) for name in ("sshd", "ssh-keygen"))
    if sshd is None or keygen is None:
        pytest.skip("sshd is not installed (apt install openssh-server)")
    directory = work / "ssh"
    directory.mkdir()
    for name in ("host", "user"):
        key = ["-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run([keygen, *key], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": directory / "host",
        "AuthorizedKeysFile": directory / "user.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    config = directory / "config"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    with suppress(PermissionError):  # root's sshd wants it, and a machine without services has none
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE)

    def answers() -> bool:
        with socket.socket() as attempt:
            return server.poll() is not None or attempt.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, 10)
    if server.poll() is not None:
        reason = server.communicate()[1].decode().strip().splitlines()[-1]
        pytest.skip(f"sshd does not start here: {reason}")
    yield port, directory / "user"
    server.kill()
    server.communicate()


def test_a_clone_pulls_over_ssh_and_has_nothing_to_do(copied, work, ssh_server):
    port, key = ssh_server
    address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{work / 'ssh-remote'}"
    options = {"keyfile": str(key), "allow_agent": "false"}
    assert share(copied, work / "clone", address, options) == []


def make_node(project: Project, directory: Path, name: str) -> Project:
    """A machine of its own: a clone from git alone, with a home and a cache of its own."""
    root = directory / name
    project.run("git", "clone", "--quiet", str(directory / "origin.git"), str(root))
    home = directory / f"{name}-home"
    shutil.copytree(project.home / "modules", home / "modules")
    return Project(root, home)


@pytest.fixture
def hidden_pictures(work: Path) -> Iterator[None]:
    """As on machines that do not have the pictures."""
    hidden = (work / PICTURES).rename(work / "hidden")
    yield
    hidden.rename(work / PICTURES)


@pytest.mark.usefixtures("hidden_pictures")
def test_experiments_of_two_machines_meet_without_a_shared_disk(copied, work):
    """The recipe of docs/scale.md: the machines have a git server and a DVC remote in common."""
    place = work / "machines"
    place.mkdir()
    copied.run("git", "init", "--quiet", "--bare", str(place / "origin.git"))
    copied.run("git", "remote", "add", "origin", str(place / "origin.git"))
    copied.dvc("remote", "add", "--default", "shared", str(place / "remote"))
    copied.commit()
    copied.run("git", "push", "--quiet", "origin", "HEAD")
    copied.dvc("push", "--run-cache")

    for name, lr in (("low", 0.002), ("high", 0.004)):
        node = make_node(copied, place, name)
        trial = ("-n", name, "-S", f"head.lr={lr}", "train_head")
        assert node.dvc("exp", "run", "--pull", "--allow-missing", *trial).stages == ["train_head"]
        # What these stages do not read has stayed in the remote
        assert not (node.root / "models/baseline.keras").exists()
        assert not (node.root / "data/raw/images.zip").exists()
        node.dvc("exp", "push", "--run-cache", "origin", name)

    copied.dvc("exp", "pull", "origin", "low", "high")
    assert set(copied.dvc("exp", "list", "--name-only").text.split()) == {"low", "high"}
    table = copied.dvc("exp", "show", "--csv", "--only-changed").text
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(table))}
    assert {name: rows[name]["head.lr"] for name in ("low", "high")} == {
        "low": "0.002",
        "high": "0.004",
    }
    copied.dvc("exp", "apply", "high")
    assert copied.dvc("status", "train_head").text.strip() == CLEAN

    # A third machine asks for what the first has computed: it is handed over, not computed again
    third = make_node(copied, place, "third")
    again = third.dvc(
        *("exp", "run", "-n", "again", "--pull", "--allow-missing"),
        *("-S", "head.lr=0.002", "train_head"),
    )
    assert again.stages == []
    head = "models/head.keras"
    low = Project(place / "low", copied.home)
    assert (third.root / head).read_bytes() == (low.root / head).read_bytes()
    shutil.rmtree(place)


def running_stage(dvc: subprocess.Popen[str], name: str) -> int:
    """Wait until a run has come to a stage; the id of its process."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in descendants(dvc.pid) if command(pid)[-1:] == [f"stages.{name}"]]
        return bool(found)

    assert wait_until(look, 120)
    return found[0]


def command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_second_run_at_the_same_time_is_refused_and_harms_nothing(base, copied):
    copied.set_params({"baseline.lr": 0.01})
    rwlock = copied.root / ".dvc/tmp/rwlock"
    first = subprocess.Popen(
        ["dvc", "repro", "train_baseline"],
        cwd=copied.root,
        env=environment(copied.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        stage = running_stage(first, "train_baseline")
        os.kill(stage, signal.SIGSTOP)
        assert '"write": {"' in rwlock.read_text()
        second = copied.dvc("repro", "train_baseline", fails=True)
    finally:
        os.kill(stage, signal.SIGCONT)
        text, _ = first.communicate(timeout=600)
    assert first.returncode == 0, text
    assert "is busy, it is being blocked by" in second.text
    assert f"(PID {first.pid}): " in second.text
    assert second.stages == []
    assert "Traceback" not in second.text

    assert copied.dvc("status", "train_baseline").text.strip() == CLEAN
    copied.run("git", "checkout", "--quiet", "params.yaml")
    assert copied.dvc("repro").stages == []
    assert copied.lock() == base.lock()
    assert copied.changes() == ""


def test_a_failed_experiment_is_left_by_two_commands(base, copied):
    file = "data/weights/README.md"
    wrong = ("preprocess.image_size=40", "model.weights=file", f"model.weights_file={file}")
    options = [part for assignment in wrong for part in ("-S", assignment)]
    outcome = copied.dvc("exp", "run", *options, "features", fails=True)
    assert outcome.stages == ["preprocess", "features"]
    assert f"\nerror: model.weights_file: {file} cannot be used for" in outcome.text
    assert not (copied.root / "data/features/pooled").exists()  # DVC deletes before it runs
    go_back(copied, base)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_an_experiment_whose_training_fails_is_left_by_two_commands(base, copied):
    experiment = subprocess.Popen(
        ["dvc", "exp", "run", "-S", "baseline.epochs=10000", "train_baseline"],
        cwd=copied.root,
        env=environment(copied.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    kept = copied.root / ".resume/train_baseline"
    assert wait_until(lambda: any(kept.glob("*/epoch_*.checkpoint")), 120)
    os.kill(running_stage(experiment, "train_baseline"), signal.SIGKILL)
    text, _ = experiment.communicate(timeout=60)
    assert experiment.returncode != 0, text
    assert not (copied.root / "plots/train_baseline").exists()
    go_back(copied, base)


def go_back(copied: Project, base: Project) -> None:
    """What the README says to do."""
    copied.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock", "metrics")
    copied.dvc("checkout")
    assert {path for path in outputs(copied) if not (copied.root / path).exists()} == set()
    assert copied.dvc("status").text.strip() == CLEAN
    assert copied.dvc("repro").stages == []
    assert copied.lock() == base.lock()
    assert copied.changes() == ""
