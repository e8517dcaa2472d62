"""A clone of the project in which DVC runs experiments, while the workspace stays as it is.

``dvc exp run``, also with ``--temp``, takes the workspace's changes away for a moment and brings
them back: who kills it then loses them. Here that happens in a clone. It shares DVC's cache, so
that what a stage makes is there for every later run, and git hands its experiments over.

Some of what is asked for here is no promise of DVC's: see tests/test_private_sides.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo

from pawprint.comparison.trees import Project, find_project, open_tree
from pawprint.runner.errors import DataError, PawprintError, one_line
from pawprint.runner.files import UNFINISHED
from pawprint.runner.stage import held_alone
from pawprint.workplaces.dvc_process import own_environment, run_dvc

SETTINGS = ("dvc.yaml", "dvc.lock", ".dvc/config", ".dvc/config.local", ".dvcignore")


@dataclass(frozen=True)
class StageInputs:
    """What stages read that no other stage makes, and what they read that others have made.

    Attributes:
        given: files and directories of the user's, also those of `dvc add`, and code.
        made: outputs of stages that are not run here, or paths in them; DVC's cache has them.
    """

    given: tuple[str, ...]
    made: tuple[str, ...]


@dataclass(frozen=True)
class Workplace:
    """The clone, made by ``open_workplace``.

    Attributes:
        root: of the project in it.
        project: the one that was cloned.
        commit: that the experiments belong to.
        stages: that are run in it, in order.
        inputs: what these read.
    """

    root: Path
    project: Project
    commit: str
    stages: tuple[str, ...]
    inputs: StageInputs

    def run(
        self, experiment: str, changes: Mapping[str, str], log: Path, shown: bool = True
    ) -> list[str]:
        """Run the stages as an experiment, and hand it to the project; an older one is replaced.

        Args:
            experiment: its name.
            changes: keys of params.yaml, and their values; each run here changes the same keys, as
                DVC leaves its values in the clone.
            log: the file for what DVC says.
            shown: whether the progress of its stages is shown; False: it goes into that file.

        Returns:
            The stages that did run; the results of the others were in the cache.

        Raises:
            StageError: a stage has failed; it says why.
            PawprintError: the experiment cannot be handed over.
        """
        name = reference(self.commit, experiment)
        git(self.root, "update-ref", "-d", name)
        ran = run_dvc(experiment_command(experiment, changes, self.stages), self.root, log, shown)
        take_reference(self.project, str(self.root), name)
        return ran

    def find(self, experiment: str) -> str:
        """The commit of an experiment, in the project; empty: there is none."""
        name = reference(self.commit, experiment)
        return git(self.project.root, "for-each-ref", "--format=%(objectname)", name).strip()

    def read(self, experiment: str, path: str) -> str:
        """The text of an experiment's file, which git or DVC's cache holds.

        Raises:
            FileNotFoundError: neither does.
        """
        tree = open_tree(self.project, self.find(experiment))
        return str(tree.fs.read_text(f"{tree.prefix}{path}", encoding="utf-8"))


def reference(commit: str, experiment: str) -> str:
    """Where git keeps an experiment of this commit."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{experiment}"


def experiment_command(
    experiment: str, changes: Mapping[str, str], stages: Sequence[str]
) -> list[str]:
    """The arguments of ``dvc`` that run these stages alone, as an experiment."""
    settings = [part for key, value in changes.items() for part in ("-S", f"{key}={value}")]
    return ["exp", "run", "--single-item", "--name", experiment, *settings, *stages]


def take_reference(project: Project, source: str, name: str) -> None:
    """Have a project's git fetch an experiment from a repository or a bundle."""
    quietly = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
    git(project.root, "fetch", *quietly, source, f"+{name}:{name}")


@contextmanager
def open_workplace(
    stages: Sequence[str], settled: str, place: Path, command: str
) -> Iterator[Workplace]:
    """Clone the project in which the command was started, with its uncommitted changes.

    What a stage that was killed has left in a clone is kept for the next one. A block that ends
    well removes the clone.

    Args:
        stages: that will be run in it, in order.
        settled: the stage whose results they start from; these must be up to date.
        place: where the clone is, in the project; git and DVC ignore it.
        command: of the user's, for messages.

    Raises:
        PawprintError: there is no project, no git repository or no commit; or another process is
            at work here.
        DataError: the results of `settled` are not those of the project as it is.
    """
    project = find_project()
    commit, top = _read_commit(project)
    inputs = _read_inputs(project, stages, settled, command)
    place = project.root / place
    with held_alone(place, f"another {command} is at work in this project"):
        clone = place / "clone"
        root = clone / project.prefix.strip("/")
        _make_clone(place, clone, top, root, commit)
        _copy_workspace(project.root, top, clone, root, inputs)
        write_settings(root, project.cache.parent.parent)  # of its files/md5
        if inputs.made:  # without names, it would be all that there is
            run_dvc(["checkout", *inputs.made], root, place / "checkout.txt")
        yield Workplace(root, project, commit, tuple(stages), inputs)
        shutil.rmtree(clone)


def _read_commit(project: Project) -> tuple[str, Path]:
    """The commit that the workspace is at, and the top of its git repository."""
    try:
        commit = git(project.root, "rev-parse", "--verify", "HEAD").strip()
    except PawprintError:
        raise PawprintError(
            f"{project.root}: experiments need a commit: `git add . && git commit -m start`"
        ) from None
    git(project.root, "var", "GIT_COMMITTER_IDENT")  # or it says in one line what git lacks
    return commit, Path(git(project.root, "rev-parse", "--show-toplevel").rstrip("\n"))


def _read_inputs(
    project: Project, stages: Sequence[str], settled: str, command: str
) -> StageInputs:
    """What the stages read; the results of `settled` are checked, and those before it."""
    try:
        with Repo(str(project.root)) as repo:
            stale = repo.status(targets=[settled], with_deps=True)
            made = {
                out.def_path: stage.addressing
                for stage in repo.index.stages
                if not stage.is_data_source  # what `dvc add` knows is taken as it lies there
                for out in stage.outs
            }
            deps = [
                dep.def_path
                for name in stages
                for dep in repo.stage.collect(name)[0].deps
                if not isinstance(dep, ParamsDependency)
            ]
    except DvcException as error:
        raise PawprintError(f"dvc: {one_line(error)}") from None
    if stale:
        names = ", ".join(name.rpartition(":")[2] for name in stale)
        raise DataError(
            f"stage {names}: not run yet, or not as params.yaml, data and code are now; run "
            f"`dvc repro {settled}`, then {command} again"
        )
    makers = {dep: made[out] for dep in deps for out in made if lies_in(dep, out)}
    return StageInputs(
        tuple(sorted({dep for dep in deps if dep not in makers})),
        tuple(sorted({dep for dep, maker in makers.items() if maker not in stages})),
    )


def lies_in(path: str, directory: str) -> bool:
    """Whether a path is this directory, or below it."""
    return path == directory or path.startswith(f"{directory}/")


def _make_clone(place: Path, clone: Path, top: Path, root: Path, commit: str) -> None:
    """A fresh clone of the commit, in which unfinished work of the last one is kept."""
    unfinished = place / "unfinished"
    if (root / UNFINISHED).is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
        os.rename(root / UNFINISHED, unfinished)
    shutil.rmtree(clone, ignore_errors=True)
    git(top, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(top), str(clone))
    git(clone, "checkout", "--quiet", "--detach", commit)
    if unfinished.is_dir():
        os.rename(unfinished, root / UNFINISHED)


def _copy_workspace(root: Path, top: Path, clone: Path, cloned: Path, inputs: StageInputs) -> None:
    """Bring uncommitted changes along, and what git does not know and the stages read."""
    changes = ("diff", "--name-only", "--no-renames", "--ignore-submodules", "-z", "HEAD")
    changed = git(top, *changes)
    for name in filter(None, changed.split("\0")):
        _copy(top / name, clone / name)
    for name in (*SETTINGS, *inputs.given):
        if not Path(name).is_absolute():
            _copy(root / name, cloned / name)
    # What git knows of the workspace belongs to the experiments, also if it was not committed
    paths = ("--pathspec-from-file=-", "--pathspec-file-nul")
    git(clone, "--literal-pathspecs", "add", "--force", *paths, given=changed)
    for key in ("user.name", "user.email"):
        known = subprocess.run(["git", "config", key], cwd=root, capture_output=True, text=True)
        if value := known.stdout.strip():
            git(clone, "config", key, value)


def _copy(source: Path, target: Path) -> None:
    """Have the same at `target`, also if that is nothing; never a link to it."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def write_settings(root: Path, cache: Path) -> None:
    """Have the clone use the project's cache, and publish nothing by itself."""
    with Repo(str(root)) as repo, repo.config.edit("local") as settings:
        # From here: DVC writes its settings in ASCII, and the project may lie anywhere
        settings["cache"]["dir"] = os.path.relpath(cache)
        settings["exp"]["auto_push"] = False


def git(directory: Path, *arguments: str, given: str = "") -> str:
    """What a command of git's prints.

    Raises:
        PawprintError: it failed; what git says of it.
    """
    command = ["git", *arguments]
    done = subprocess.run(
        command,
        cwd=directory,
        env=own_environment(),
        input=given.encode(errors="surrogateescape"),
        capture_output=True,
    )
    if done.returncode:
        said = one_line(done.stderr.decode(errors="replace"))
        raise PawprintError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="surrogateescape")
