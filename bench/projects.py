"""Temporary projects that are measured: copies of this one, and one with a single stage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import yaml

from bench.measure import LIGHT, Usage, run_measured
from pawprint.runner.errors import PawprintError
from pawprint.versions.cache import FRESH

ROOT = Path(__file__).parents[1]
ARCHIVE = "data/source/pictures.zip"
ONE_STAGE = """\
stages:
  measure:
    cmd: du -s pictures > size.txt
    deps: [pictures]
    outs: [size.txt]
"""


@dataclass
class Project:
    """A git repository with DVC and a cache of its own.

    Attributes:
        root: its directory.
        home: what its commands see as the user's home; logs go there, too.
        params: what ``set_params`` starts from.
    """

    root: Path
    home: Path
    params: dict[str, Any] = field(default_factory=dict)

    def run(self, *command: str, sampling: float = LIGHT) -> Usage:
        return run_measured(command, self.root, environment(self.home), self.home / "log", sampling)

    def dvc(self, *arguments: str, sampling: float = LIGHT) -> Usage:
        return self.run("dvc", *arguments, sampling=sampling)

    def python(self, module: str, *arguments: str) -> Usage:
        return self.run("python", "-m", module, *arguments)

    def set_params(self, values: Mapping[str, Any]) -> None:
        """Write params.yaml: the project's own values, but for some keys such as ``head.lr``.

        Raises:
            PawprintError: there is no such key.
        """
        params = {section: dict(keys) for section, keys in self.params.items()}
        for name, value in values.items():
            section, key = name.split(".")
            if key not in params.get(section, {}):
                raise PawprintError(f"params.yaml: no key {name}; see --set, or bench/parts.py")
            params[section][key] = value
        text = yaml.safe_dump(params, sort_keys=False)
        (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def commit(self) -> None:
        """Make it a repository: DVC and dvclive want one that has a commit."""
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "state")


def environment(home: Path) -> dict[str, str]:
    """For commands of a project: nothing of the caller's settings, nothing written elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC", "GIT_", "PYTHON", "XDG_"))
    }
    person = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "Bench"), ("EMAIL", "bench@example.org"))
    }
    return {
        **kept,
        **person,
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "GIT_CONFIG_NOSYSTEM": "1",
        FRESH: "1",
    }


def clone(root: Path, home: Path, archive: Path | None, values: Mapping[str, Any]) -> Project:
    """Copy this repository as it stands; nothing has been run in it.

    Args:
        root: directory to make.
        home: see ``Project``.
        archive: a zip of pictures for ``data.archive``; None: whatever ``values`` say.
        values: keys of params.yaml for all that is run there.
    """
    for name in _tracked_files():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    home.mkdir(exist_ok=True)
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    project = Project(root, home, params)
    if archive:
        os.link(archive, root / ARCHIVE)
        values = {"data.source": "archive", "data.archive": ARCHIVE, **values}
    project.set_params(values)
    project.params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    project.commit()
    return project


def _tracked_files() -> list[str]:
    """Files that git tracks, and new ones that it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        raise PawprintError(f"expected a git checkout: {listing.stderr.strip()}; clone Pawprint")
    names = filter(None, listing.stdout.split("\0"))
    return [name for name in names if (ROOT / name).is_file()]


def make_one_stage_project(root: Path, home: Path, archive: Path, unpacked: bool) -> Project:
    """The smallest project with the same pictures: one stage that depends on them.

    Args:
        root: directory to make.
        home: see ``Project``.
        archive: a canonical archive.
        unpacked: whether the stage depends on all files of the archive instead of on one.
    """
    (root / ".dvc").mkdir(parents=True)
    shutil.copyfile(ROOT / ".dvc/config", root / ".dvc/config")
    (root / "dvc.yaml").write_text(ONE_STAGE, encoding="utf-8")
    (root / ".gitignore").write_text("/pictures\n", encoding="utf-8")
    if unpacked:
        with ZipFile(archive) as file:
            file.extractall(root / "pictures")
    else:
        os.link(archive, root / "pictures")
    project = Project(root, home)
    project.commit()
    return project


def take_fifth(archive: Path, out: Path) -> None:
    """Every fifth picture of each folder of a canonical archive, as an archive."""
    folders = defaultdict(list)
    with ZipFile(archive) as source, ZipFile(out, "w", ZIP_STORED) as target:
        for name in sorted(source.namelist()):
            folders[name.rpartition("/")[0]].append(name)
        for names in folders.values():
            for name in names[::5]:
                target.writestr(name, source.read(name))


def count_images_per_s(text: str) -> float:
    """The throughput that the features stage prints last.

    >>> count_images_per_s("features of 1700 pictures in data/features/ (230.1 images/s)")
    230.1
    """
    found = re.findall(r"^features of .*\(([\d.]+) images/s\)\s*$", text, re.MULTILINE)
    if not found:
        raise PawprintError(
            "stage features: expected a line 'features of ... (... images/s)', found none"
        )
    return float(found[-1])
