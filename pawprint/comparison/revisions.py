"""What the models of a revision said, and what is known of the run that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pawprint.choosing.out_of_fold import read_out_of_fold
from pawprint.choosing.pictures import group_pictures
from pawprint.comparison.records import Record, find_outdated
from pawprint.comparison.trees import SHORT, WORKSPACE, Project, Tree, open_tree
from pawprint.data.manifest import Picture, read_manifest
from pawprint.evaluation.predictions import (
    Prediction,
    Predictions,
    make_predictions,
    read_predictions,
)
from pawprint.runner.errors import DataError, PawprintError, one_line
from pawprint.runner.params import SplitParams

EVALUATE, CROSSVAL = "evaluate", "crossval"  # stages whose predictions are compared
MOST_REASONS = 3  # of results that are out of date, in a sentence


@dataclass(frozen=True)
class Locations:
    """Where a project keeps what is compared, from its root."""

    predictions: str
    crossval: str  # predictions of stage crossval, which a revision may lack
    manifest: str
    archive: str


@dataclass(frozen=True)
class Revision:
    """What is known of a revision.

    Attributes:
        name: as the user named it.
        commit: its first digits; empty for the workspace.
        said: model → path → what it said of that test picture.
        crossval: path → what was said of a picture out of its fold; empty if there is none.
        pictures: of its manifest, by path; empty if that cannot be read.
        class_names: sorted.
        record: its stages and parameters.
        archive: its pictures, where they are on this machine; the file may be missing.
        remarks: what a reader must know, a sentence each.
        group_of: path → the name of what belongs together: duplicates, and groups that were named.
    """

    name: str
    commit: str
    said: Predictions
    crossval: Mapping[str, Prediction]
    pictures: Mapping[str, Picture]
    class_names: tuple[str, ...]
    record: Record
    archive: Path
    remarks: tuple[str, ...]
    group_of: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name if self.name.startswith(self.commit) else f"{self.name} ({self.commit})"


def choose_revisions(project: Project, names: list[str]) -> list[str]:
    """The revisions to compare, the one that the others are compared with first.

    Of a single one: the workspace is compared with HEAD, an experiment with the commit that it was
    derived from, and with anything else the workspace is compared.

    Raises:
        PawprintError: there is no such revision.
    """
    if len(names) > 1:
        return names
    if names == [WORKSPACE]:
        return ["HEAD", WORKSPACE]
    derived = open_tree(project, names[0]).derived
    return [derived[:SHORT], names[0]] if derived else [names[0], WORKSPACE]


def read_revision(project: Project, name: str, places: Locations) -> Revision:
    """Read a revision.

    Args:
        project: whose it is.
        name: of the revision.
        places: of its files.

    Raises:
        PawprintError: there is no such revision, or none of its results on this machine or in a
            remote.
    """
    tree = open_tree(project, name)
    try:
        with TemporaryDirectory() as directory:
            return _read(project, name, places, tree, Path(directory))
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _read(project: Project, name: str, places: Locations, tree: Tree, directory: Path) -> Revision:
    again = _again(name, tree)
    record = _read_record(tree, again)
    workspace = None if tree.commit else project.root
    reading = _Reading(tree, record, again, workspace, directory)
    remarks = _find_outdated(EVALUATE, record, name, tree)
    if workspace and not remarks:
        remarks = _find_status(name, tree)
    said = reading.parsed(places.predictions, read_predictions)
    crossval: Mapping[str, Prediction] = {}
    if record.maker(places.crossval):
        try:
            crossval = reading.parsed(places.crossval, _read_crossval)
            remarks += _find_outdated(CROSSVAL, record, name, tree)
        except DataError as error:
            remarks.append(f"{error}. So stage {CROSSVAL} is not compared")
    manifest: list[Picture] = []
    try:
        manifest = reading.parsed(places.manifest, read_manifest)
    except DataError as error:
        remarks.append(f"{error}. So pictures are told apart by their paths alone")
    if manifest:
        class_names = {picture.class_name for picture in manifest}
    else:
        every = [one for of_model in said.values() for one in of_model.values()]
        class_names = {n for one in every for n in (one.actual, one.predicted)}
    group_of, remark = _read_groups(manifest, reading, project)
    remarks += [remark] if remark else []
    md5 = record.digests("outs").get(places.archive, "")
    return Revision(
        name,
        tree.commit[:SHORT],
        said,
        crossval,
        {picture.path: picture for picture in manifest},
        tuple(sorted(class_names)),
        record,
        project.root / places.archive if workspace else project.cached(md5),
        tuple(f"{name}: {remark}" for remark in remarks),
        group_of,
    )


def _read_groups(
    manifest: list[Picture], reading: _Reading, project: Project
) -> tuple[Mapping[str, str], str]:
    """path → group, and what a reader must know of it.

    A CSV that neither git nor DVC has of a revision is taken as it is in the workspace.
    """
    split = reading.record.params.get("split")
    split = split if isinstance(split, Mapping) else {}
    listed, pattern = str(split.get("groups_file", "")), str(split.get("groups_pattern", ""))
    file, remark = reading.directory / "groups", ""  # a folder names none
    file.mkdir()
    if listed and reading.workspace:
        file = project.root / listed
    elif listed and reading.tree.has_file(listed):
        file = reading.directory / "groups.csv"
        reading.tree.copy(listed, file)
    elif listed and (project.root / listed).is_file():
        file = project.root / listed
        remark = f"{listed} is not kept with it: groups are those that are there now"
    params = SplitParams.model_construct(groups_file=str(file), groups_pattern=pattern)
    try:
        return group_pictures(manifest, params), remark
    except (DataError, OSError) as error:
        reason = one_line(error)
        return (
            {picture.path: picture.group for picture in manifest},
            f"its groups cannot be read ({reason}): only copies count as belonging together",
        )


def _read_record(tree: Tree, again: str) -> Record:
    found: list[Any] = []
    for file in ("dvc.lock", "params.yaml"):
        try:
            found.append(tree.read_yaml(file))
        except FileNotFoundError:
            raise DataError(f"expected the results of a run, found no {file}; {again}") from None
    lock, params = found
    stages = lock.get("stages") if isinstance(lock, dict) else None
    return Record(stages or {}, params if isinstance(params, dict) else {})


def _apply(name: str, tree: Tree) -> str:
    return f"dvc exp apply {name}" if tree.derived else f"git checkout {name}"


def _again(name: str, tree: Tree) -> str:
    """What brings the results of a revision back, or makes them once more."""
    if not tree.commit:
        return "`dvc checkout` brings back what was computed, `dvc repro` makes it"
    return f"`{_apply(name, tree)}`, then `dvc pull` where a remote has them, or `dvc repro`"


@dataclass(frozen=True)
class _Reading:
    """Files of one revision, read on this machine.

    Attributes:
        tree: of the revision.
        record: of it.
        again: how its results come back.
        workspace: the root of the project, if that is the revision.
        directory: where files of another one are copied to.
    """

    tree: Tree
    record: Record
    again: str
    workspace: Path | None
    directory: Path

    def parsed(self, path: str, parse: Callable[[Path], Any]) -> Any:
        file = self._fetch(path)
        try:
            return parse(file)
        except (DataError, TypeError, ValueError, LookupError) as error:
            message = one_line(error).replace(str(file), path).removeprefix(f"{path}: ")
            raise DataError(f"{path} cannot be read: {message}") from None

    def _fetch(self, path: str) -> Path:
        if not self.record.maker(path):
            raise DataError(
                f"expected {path} in its dvc.lock, found no stage that made it; {self.again}"
            )
        if self.workspace:
            if not (self.workspace / path).is_file():
                raise DataError(f"{path} is missing; {self.again}")
            return self.workspace / path
        target = self.directory / path.replace("/", "_")
        try:
            self.tree.copy(path, target)
        except FileNotFoundError:
            reason = "is not in DVC's cache, and no remote gave it"
        except Exception as error:  # remotes raise almost anything
            reason = f"cannot be fetched ({one_line(error)})"
        else:
            return target
        raise DataError(f"{path} {reason}; {self.again}")


def _read_crossval(path: Path) -> Mapping[str, Prediction]:
    """path → what was said of the picture by a head that had not seen it."""
    table = read_out_of_fold(path)
    probs = {CROSSVAL: table.probs}
    return make_predictions(table.paths, table.labels, probs, table.class_names)[CROSSVAL]


def _find_outdated(stage: str, record: Record, name: str, tree: Tree) -> list[str]:
    """Whether dvc.lock is that of one run, with the parameters beside it."""
    return _tell_outdated(stage, find_outdated(record, stage, tree.digest), name, tree)


def _find_status(name: str, tree: Tree) -> list[str]:
    """Of the workspace: what has changed since its results were made."""
    try:
        changes = list(_changes_of(tree.status(EVALUATE)))
        return _tell_outdated(EVALUATE, changes, name, tree)
    except PawprintError as error:
        return [f"{error}; whether these results are up to date cannot be told"]


def _changes_of(status: Mapping[str, Any]) -> Iterator[str]:
    """``finetune: finetune.lr`` for each change that DVC found; its report nests them by kind."""

    def names(found: Mapping[str, Any]) -> Iterator[str]:
        for name, how in found.items():
            yield from names(how) if isinstance(how, Mapping) else [name]

    for stage, reports in status.items():
        for report in reports:
            found = names(report) if isinstance(report, Mapping) else [report]
            yield from (f"{stage}: {name}" for name in found)


def _tell_outdated(stage: str, reasons: list[str], name: str, tree: Tree) -> list[str]:
    if not reasons:
        return []
    shown = ", ".join(reasons[:MOST_REASONS])
    more = f" and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    first = f"`{_apply(name, tree)}` and " if tree.commit else ""
    return [
        f"the results of stage {stage} are older than what they are made of ({shown}{more}); "
        f"{first}`dvc repro` bring them up to date"
    ]
