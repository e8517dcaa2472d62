"""Runs the committed pipeline in clones, under conditions that must not matter."""

from __future__ import annotations

import json
import locale
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pawprint.runner.errors import PawprintError
from verify.compare import MACHINE

OTHER_KERAS = {"floatx": "float64", "epsilon": 1e-3, "image_data_format": "channels_first"}


@dataclass(frozen=True)
class Run:
    """What a run leaves: the stages of its dvc.lock, and its machine, where that is known."""

    stages: Mapping[str, Mapping[str, Any]]
    machine: Sequence[str] | None


def read_commit(project: Path) -> Run:
    """The run whose dvc.lock is committed.

    Raises:
        PawprintError: none is.
    """
    lock = _show(project, "dvc.lock")
    if lock is None:
        raise PawprintError("dvc.lock: not committed; run `dvc repro`, then commit it")
    machine = _show(project, MACHINE)
    return Run(yaml.safe_load(lock)["stages"], json.loads(machine) if machine else None)


def _show(project: Path, path: str) -> str | None:
    command = ["git", "show", f"HEAD:./{path}"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, encoding="utf-8")
    return None if done.returncode else done.stdout


def run_in_clone(project: Path, clone: Path, params: Sequence[str], otherwise: bool) -> Run:
    """Clone the commit of a project and run its pipeline there, with nothing cached.

    Args:
        project: a git checkout; files in its ``data/source``, ``data/weights``, ``data/groups``,
            ``data/members`` and ``data/others`` come along.
        clone: where to.
        params: such as ``head.lr=0.01``.
        otherwise: under another locale, time zone, umask, hash seed, home, settings of Keras and,
            where libfaketime is installed, date.

    Raises:
        PawprintError: the clone or the run fails; what it says has been printed.
    """
    _call(["git", "clone", "--quiet", str(project), str(clone)], project, dict(os.environ), -1)
    environment = plain_environment(dict(os.environ))
    for given in ("data/source", "data/weights", "data/groups", "data/members", "data/others"):
        if (project / given).is_dir():
            shutil.copytree(project / given, clone / given, dirs_exist_ok=True)
    # a cache shared by the user's settings may hold the results: "is cached - skipping run"
    _call(["dvc", "cache", "dir", "--local", ".dvc/cache"], clone, environment, -1)
    command = ["dvc", "repro"]
    if params:
        command = ["dvc", "exp", "run", *(part for param in params for part in ("-S", param))]
    umask = -1
    if otherwise:
        environment |= other_conditions(clone.with_name("home"))
        umask = 0o077
        if shutil.which("faketime"):
            command = ["faketime", "-f", "+400d", *command]
    _call(command, clone, environment, umask)
    lock = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))
    machine = clone / MACHINE
    described = json.loads(machine.read_text(encoding="utf-8")) if machine.exists() else None
    return Run(lock["stages"], described)


def _call(command: list[str], directory: Path, environment: dict[str, str], umask: int) -> None:
    done = subprocess.run(command, cwd=directory, env=environment, umask=umask)
    if done.returncode:
        shown = " ".join(command[:4])
        raise PawprintError(f"`{shown}` in {directory} failed; its message is above")


def plain_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, made fit for a clone: its Python first, its paths left out."""
    kept = {k: v for k, v in environment.items() if k not in ("PYTHONPATH", "DVC_ROOT")}
    person = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "verify"), ("EMAIL", "verify@localhost"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**person, **kept, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def other_conditions(home: Path) -> dict[str, str]:
    """What must not change a result, changed; downloaded weights and credentials are still found.

    Args:
        home: a directory to make, in which Keras finds other settings than the usual ones.
    """
    here = locale.setlocale(locale.LC_CTYPE)
    keras_home = home / "keras"
    keras_home.mkdir(parents=True)
    (keras_home / "keras.json").write_text(json.dumps(OTHER_KERAS), encoding="utf-8")
    downloaded = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")).resolve() / "models"
    if downloaded.is_dir():
        (keras_home / "models").symlink_to(downloaded)
    return {
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": os.environ.get("KAGGLE_CONFIG_DIR", str(Path.home() / ".kaggle")),
        "KERAS_HOME": str(keras_home),
        "LC_ALL": "C.UTF-8" if here in ("C", "POSIX") else "C",
        "PYTHONHASHSEED": "4711",
        "TZ": "<+14>-14",
    }
