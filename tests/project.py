"""Temporary projects: a copy of this one in a git repository of its own, driven by real DVC."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc_command import run_dvc
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
COPIED = (
    *("pawprint", "stages", "data/source/.gitignore", "data/source/README.md"),
    *("data/weights/.gitignore", "data/weights/README.md", "data/groups/README.md"),
    "data/decisions.csv",
    *("data/members/.gitignore", "data/members/README.md"),
    *("data/others/.gitignore", "data/others/README.md"),
    *("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"),
    *(".dvc/plots", ".dvc/plots.html"),
)
# Python imports this module at its start, if it finds it: it notes which files each stage opens,
# of a library the first one.
# In stages, FILES_UP_TO bytes fit on the disk, and who opens a file that matches HELD waits.
WATCHER = """
import os, re, resource, sys, time
found = re.search(r"-m stages\\.(\\w+)", " ".join(sys.orig_argv))
if found:
    os.environ["WATCHED_STAGE"] = found[1]  # worker processes inherit it
if "WATCHED_STAGE" in os.environ:
    root, stage = os.getcwd(), os.environ["WATCHED_STAGE"]
    log = os.open(".git/opened.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    if "FILES_UP_TO" in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["FILES_UP_TO"]),) * 2)
    held = os.environ.get("HELD", "(?!)")
    libraries = set()

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            library = str(arguments[0]).partition("-packages/")[2].partition("/")[0]
            if library in libraries:
                return
            while re.search(held, str(arguments[0])):
                time.sleep(60)
            # These read all deps and outs, which would hide that a stage needs one of them no more
            callers = [sys._getframe(1), sys._getframe(1).f_back]
            names = [os.path.basename(c.f_code.co_filename) for c in callers if c]
            if {"fingerprint.py", "machine.py"} & set(names):
                return
            path = os.path.relpath(os.path.join(root, arguments[0]), root)
            libraries.update({library} - {""})
            mode = "write" if arguments[2] & (os.O_WRONLY | os.O_RDWR) else "read"
            os.write(log, f"{stage}\\t{mode}\\t{path}\\n".encode(errors="replace"))

    sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and all that it printed."""

    code: int
    text: str

    @property
    def stages(self) -> list[str]:
        """The stages whose commands were run, in order."""
        return re.findall(r"^Running stage '(\w+)':", self.text, re.MULTILINE)

    def expect(self, fails: bool, *command: str) -> Outcome:
        """The same, if its exit code is not 0 where it `fails`, and 0 otherwise."""
        assert (self.code != 0) == fails, f"{command}: {self.code}\n{self.text[-3000:]}"
        return self


@dataclass(frozen=True)
class Project:
    """A project at `root`; commands see `home` as the user's home, empty but for caches."""

    root: Path
    home: Path

    def stale(self) -> set[str]:
        """The stages that the next repro runs, and those that depend on them directly."""
        return set(json.loads(self.dvc("status", "--json").text))

    def run(self, *command: str, fails: bool = False) -> Outcome:
        """Run a command in the project; its exit code must be 0, unless it `fails`."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=600,
        )
        return Outcome(done.returncode, done.stdout).expect(fails, *command)

    def dvc(self, *arguments: str, fails: bool = False) -> Outcome:
        """The same for a command of DVC's."""
        outcome = Outcome(*run_dvc(arguments, self.root, environment(self.home)))
        return outcome.expect(fails, "dvc", *arguments)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "state")

    def changes(self) -> str:
        """What git sees as changed or new; empty after a commit."""
        return self.run("git", "status", "--short").text

    def read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def lock(self) -> dict[str, dict[str, Any]]:
        """The stages of dvc.lock, with numbers as DVC reads them."""
        return YAML(typ="safe").load(self.root / "dvc.lock")["stages"]

    def opened(self, stage: str) -> dict[str, set[str]]:
        """Files in the project, but for code and settings, that a stage opened: `read`, `write`."""
        found: dict[str, set[str]] = {"read": set(), "write": set()}
        for _, mode, path in self._opened(f"{stage}\t"):
            foreign = path.startswith(("..", ".git", ".dvc", ".resume")) or path.endswith(".py")
            foreign |= "__pycache__" in path or path in {*COPIED} - {"data/decisions.csv"}
            foreign |= path == "dvc.lock"  # it tells where the last version is, and changes no byte
            # Directories are opened too
            if not foreign and (mode == "write" or (self.root / path).is_file()):
                found[mode].add(path)
        return found

    def _opened(self, start: str = "") -> set[tuple[str, ...]]:
        """Stage, mode and path of what was opened, of the lines that begin so."""
        lines = self.read(".git/opened.txt").splitlines()
        return {tuple(line.split("\t")) for line in lines if line.startswith(start)}

    def imports(self, module: str) -> set[str]:
        """The stages that imported a library."""
        return {stage for stage, _, path in self._opened() if f"-packages/{module}/" in path}

    def set_params(self, values: Mapping[str, Any]) -> None:
        """Change keys of params.yaml, such as `split.seed`."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            section, key = name.split(".")
            assert key in params[section], name
            params[section][key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def copy(self, root: Path) -> Project:
        """A clone with all its files, DVC's cache included."""
        shutil.copytree(self.root, root, symlinks=True, copy_function=_copy_or_link)
        return Project(root, self.home)

    def clone(self, root: Path) -> Project:
        """What a colleague gets from git, and the source pictures, which git does not hold."""
        self.run("git", "clone", "--quiet", str(self.root), str(root))
        shutil.copytree(self.root / "data/source", root / "data/source", dirs_exist_ok=True)
        return Project(root, self.home)


def make_project(root: Path, home: Path, params: Mapping[str, Any]) -> Project:
    """Copy what a pipeline needs, set some parameters, and commit; nothing has been run."""
    for name in COPIED:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    (home / "modules").mkdir(parents=True, exist_ok=True)
    (home / "modules/sitecustomize.py").write_text(WATCHER, encoding="utf-8")
    project = Project(root, home)
    project.set_params(params)
    project.run("git", "init", "--quiet")
    project.commit()
    return project


def _copy_or_link(source: str, target: str) -> None:
    if not os.stat(source).st_mode & 0o222:  # git's and DVC's, also as outputs: never written again
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def environment(home: Path) -> dict[str, str]:
    # What the caller's shell, git hooks or configuration say must not change what is tested
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC", "GIT_", "KAGGLE", "MAKE", "MFLAGS", "PYTHON", "XDG_"))
    }
    person = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "Test"), ("EMAIL", "test@example.org"))
    }
    return {
        **kept,
        **person,
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(home / "modules"),
    }
