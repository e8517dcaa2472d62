"""The files of a revision, as DVC tells them; nothing is checked out.

A revision is what DVC understands: a commit, a branch, a tag, an experiment, or the workspace.
Some of what is asked for here is no promise of DVC's: see tests/test_private_sides.py.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.scm import NoSCM, SCMError
from dvc.utils.serialize import parse_yaml
from dvc_data.index import DataIndexDirError

from pawprint.comparison.records import tree_digest
from pawprint.runner.errors import DataError, PawprintError, one_line
from pawprint.storage.tables import printable

WORKSPACE = "workspace"
SHORT = 7  # digits of a commit
_EXPERIMENT = re.compile(r"(?m)^refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/")  # what it derives from
_WITHOUT_GIT = (
    "revisions need git: `git init && git add . && git commit -m start`, then "
    "`dvc config core.no_scm false`"
)


@dataclass(frozen=True)
class Project:
    """Where a project is, and what DVC knows of it.

    Attributes:
        root: of the project.
        prefix: of its files in the git repository: ``/``, or a directory that ends with one.
        cache: where DVC keeps files, named by their MD5.
        remote: the name of the default remote; None if there is none.
    """

    root: Path
    prefix: str
    cache: Path
    remote: str | None

    def cached(self, md5: str) -> Path:
        """The file of this content; it may be missing."""
        return self.cache / md5[:2] / md5[2:]


def find_project() -> Project:
    """The project in which the command was started.

    Raises:
        PawprintError: there is none, or it is in no git repository.
    """
    try:
        root = Path(Repo.find_root())
    except NotDvcRepoError:
        raise PawprintError(
            f"{Path.cwd()}: expected a project with DVC, found none here or above; run from the "
            "project's root"
        ) from None
    try:
        with Repo(str(root)) as repo:
            if isinstance(repo.scm, NoSCM):
                raise PawprintError(
                    f"{root}: expected a git repository, found none; {_WITHOUT_GIT}"
                )
            inside = root.resolve().relative_to(Path(repo.scm.root_dir).resolve()).as_posix()
            return Project(
                root,
                "/" if inside == "." else f"/{inside}/",
                Path(repo.cache.local.path),
                repo.config["core"].get("remote"),
            )
    except (SCMError, DvcException) as error:
        raise PawprintError(f"{root}: {one_line(error)}; {_WITHOUT_GIT}") from None


@dataclass(frozen=True)
class Tree:
    """The files of one revision, by their paths in the project.

    Attributes:
        fs: of DVC: what git has, and what ``dvc.lock`` names.
        prefix: of the project's files in it.
        commit: in full; empty for the workspace.
        derived: of an experiment: the commit that it was derived from; else empty.
    """

    fs: DVCFileSystem
    prefix: str
    commit: str
    derived: str

    def read_yaml(self, path: str) -> Any:
        """A file that git has, with numbers as DVC reads them.

        Raises:
            FileNotFoundError: it is not there.
            DataError: it is no YAML.
        """
        try:
            return parse_yaml(self.fs.read_text(f"{self.prefix}{path}"), path)
        except (DvcException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not valid YAML ({one_line(error)})") from None

    def has_file(self, path: str) -> bool:
        """Whether git or ``dvc.lock`` has a file of this path."""
        return bool(self.fs.isfile(f"{self.prefix}{path}"))

    def copy(self, path: str, target: Path) -> None:
        """Copy a file out of git, DVC's cache or a remote.

        Raises:
            FileNotFoundError: none of them has it.
            Exception: a remote cannot be used; which one it is, is up to the remote.
        """
        try:
            self.fs.get_file(f"{self.prefix}{path}", str(target))
        except DataIndexDirError as error:  # of the directory in which it lies
            raise error.__cause__ or error from None

    def digest(self, path: str) -> str:
        """DVC's hash of an output, or of what lies in one; empty if it is not known."""
        place = f"{self.prefix}{path}"
        try:
            info = self.fs.info(place)
            if info["type"] == "file":
                return str(info["dvc_info"].get("md5", ""))
            found = self.fs.find(place, detail=True)
            return tree_digest(
                {name.removeprefix(f"{place}/"): i["dvc_info"]["md5"] for name, i in found.items()}
            )
        except (OSError, LookupError, DataIndexDirError):  # also: what lies in it is not here
            return ""

    def status(self, stage: str) -> Mapping[str, Any]:
        """What ``dvc status`` tells of the workspace: of a stage, and those that it depends on.

        Raises:
            PawprintError: DVC cannot tell.
        """
        try:
            target = f"{self.fs.repo.root_dir}/dvc.yaml:{stage}"
            found = self.fs.repo.status(targets=[target], with_deps=True)
            return {name.rpartition(":")[2]: changes for name, changes in found.items()}
        except LockError:
            raise PawprintError("DVC is at work here") from None
        except DvcException as error:
            raise PawprintError(one_line(error)) from None


def open_tree(project: Project, name: str) -> Tree:
    """The files of a revision.

    Raises:
        PawprintError: there is no such revision.
    """
    if not name.strip():
        raise PawprintError("expected the name of a revision, found an empty one")
    if name == WORKSPACE:
        return Tree(DVCFileSystem(str(project.root)), "/", "", "")
    try:
        # The remote is today's: a commit may be older than it
        fs = DVCFileSystem(str(project.root), rev=name, subrepos=True, remote=project.remote)
        commit = str(fs.repo.get_rev())
    except (SCMError, DvcException) as error:
        raise PawprintError(
            f"{printable(name)}: no revision of this project ({one_line(error)}); `dvc exp list`, "
            "`git branch` and `git log` name them"
        ) from None
    return Tree(fs, project.prefix, commit, _derived_from(project.root, commit))


def _derived_from(root: Path, commit: str) -> str:
    # DVC has other references below refs/exps/, which may point at any commit
    command = ["git", "for-each-ref", f"--points-at={commit}", "--format=%(refname)", "refs/exps/"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = _EXPERIMENT.search(done.stdout)
    return found[1] + found[2] if found else ""
