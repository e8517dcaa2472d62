"""A workplace as a file, so that a machine that shares no files with this one runs its experiments.

    meta.json      which commit, stages and user
    clone/.git     a shallow clone of the commit
    changes.patch  what is not committed
    given/         what git does not know and the stages read
    cache/         files of DVC's cache: outputs that the stages read, and their own where they stay

What comes back is a bundle of git's with the experiment, and the files that DVC's cache has more.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pawprint.comparison.trees import Project
from pawprint.runner.errors import DataError, PawprintError, StageError
from pawprint.runner.files import atomic_write
from pawprint.runner.params_file import load_yaml
from pawprint.runner.times import ASKED
from pawprint.workplaces.dvc_process import run_dvc
from pawprint.workplaces.workplace import (
    SETTINGS,
    Workplace,
    experiment_command,
    git,
    lies_in,
    reference,
    take_reference,
    write_settings,
)

_LOCK, _HASHED = "dvc.lock", Path("files/md5")
_TASK, _HELD = "pawprint-task-", "held"  # a directory, and the file in it that its process locks
_YOUNG_S = 60  # it may not be locked yet
_SMALLEST = ("-c", "gc.auto=0")


@dataclass(frozen=True)
class WantedExperiment:
    """An experiment that is wanted.

    Attributes:
        experiment: its name.
        changes: keys of params.yaml, and their values, as ``dvc exp run -S`` reads them.
        environment: variables for its stages.
    """

    experiment: str
    changes: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """What became of an order.

    Attributes:
        ran: the stages that did run, in order.
        bundle: of git's, with the experiment; empty if it failed.
        files: path in DVC's cache → content, of those that the snapshot did not have.
        times: what the stages noted, see ``pawprint/runner/times.py``.
        said: what DVC and the stages printed.
        failed: the stage that failed, and why; None: none did.
    """

    ran: Sequence[str]
    bundle: bytes
    files: Mapping[str, bytes]
    times: str
    said: str
    failed: tuple[str, str] | None = None


def pack(workplace: Workplace, changed: Iterable[str], snapshot: Path) -> None:
    """Write a snapshot.

    Args:
        workplace: what is packed.
        changed: keys of params.yaml that the experiments change. The outputs of the workplace's
            stages that follow from none of them travel too, so that they are not made again.
        snapshot: the file to write, a tar.

    Raises:
        DataError: a stage reads a file that lies outside of the project.
        PawprintError: git fails.
    """
    outside = [name for name in workplace.inputs.given if Path(name).is_absolute()]
    if outside:
        raise DataError(
            f"{outside[0]}: lies outside of the project, where other machines cannot read it; "
            "move it into the project, and name it in params.yaml by its path there"
        )
    top = Path(git(workplace.root, "rev-parse", "--show-toplevel").rstrip("\n"))
    lock = load_yaml(workplace.root / _LOCK)["stages"]
    staying = find_untouched(lock, workplace.stages, changed)
    wanted = [*workplace.inputs.made]
    wanted += [out["path"] for stage in staying for out in lock[stage].get("outs", [])]
    meta = {
        "commit": workplace.commit,
        "prefix": workplace.project.prefix.strip("/"),
        "stages": workplace.stages,
        "made": workplace.inputs.made,
        "staying": staying,
        "user": {key: _read_setting(top, key) for key in ("user.name", "user.email")},
    }
    with (
        tempfile.TemporaryDirectory(prefix="pawprint-", dir=snapshot.parent) as directory,
        tarfile.open(snapshot, "w") as tar,
    ):
        place = Path(directory)
        shallow = ("--no-local", "--depth=1", "--no-checkout", "--no-tags")
        git(top, "clone", "--quiet", *shallow, str(top), str(place / "clone"))
        patch = git(top, "diff", "--binary", "--cached", "--no-renames", "HEAD")
        (place / "changes.patch").write_text(patch, encoding="utf-8", errors="surrogateescape")
        (place / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        for name in ("meta.json", "changes.patch", "clone"):
            tar.add(place / name, name)
        # What is for this machine alone, as a password of a remote, stays here
        settings = [name for name in SETTINGS if not name.endswith(".local")]
        for name in (*settings, *workplace.inputs.given):
            if (workplace.root / name).exists():
                tar.add(workplace.root / name, f"given/{name}")
        cache = workplace.project.cache.parent.parent  # of its files/md5
        for path in _list_cached(lock, wanted, cache):
            tar.add(cache / path, f"cache/{path.as_posix()}")


def find_untouched(
    lock: Mapping[str, Any], stages: Sequence[str], changed: Iterable[str]
) -> list[str]:
    """Those of some stages, in their order, whose outputs do not follow from these keys.

    >>> decode = {"params": {"params.yaml": {"preprocess": {}}}, "outs": [{"path": "pixels"}]}
    >>> train = {"params": {"params.yaml": {"head": {}}}, "deps": [{"path": "pixels/train"}]}
    >>> find_untouched({"decode": decode, "train": train}, ["decode", "train"], ["head.lr"])
    ['decode']
    >>> find_untouched({"decode": decode}, ["decode"], ["preprocess.resize"])
    []
    """
    touched: list[str] = []  # outputs
    left = []
    for stage in stages:
        entry = lock.get(stage, {})
        read = [key for keys in entry.get("params", {}).values() for key in keys]
        deps = [dep["path"] for dep in entry.get("deps", [])]
        hit = any(key == each or key.startswith(f"{each}.") for key in changed for each in read)
        hit |= any(lies_in(dep, out) for dep in deps for out in touched)
        if hit or not entry:
            touched += [out["path"] for out in entry.get("outs", [])]
        else:
            left.append(stage)
    return left


def _list_cached(lock: Mapping[str, Any], wanted: Sequence[str], cache: Path) -> list[Path]:
    """The files of the cache that are outputs of these paths, or have parts of these paths.

    All of such an output: ``dvc exp run`` removes one of which a part cannot be brought back.
    """
    names: dict[str, None] = {}
    outs = [out for entry in lock.values() for out in entry.get("outs", [])]
    for out in outs:
        if not any(lies_in(path, out["path"]) for path in wanted):
            continue
        names[out["md5"]] = None
        listing = cache / _place(out["md5"])
        if out["md5"].endswith(".dir") and listing.is_file():
            names |= {entry["md5"]: None for entry in json.loads(listing.read_bytes())}
    return [_place(name) for name in names if (cache / _place(name)).is_file()]


def _place(md5: str) -> Path:
    return _HASHED / md5[:2] / md5[2:]


def carry_out(order: WantedExperiment, snapshot: BinaryIO) -> Delivery:
    """Run an order's experiment in a temporary directory, which is removed.

    Args:
        order: the experiment.
        snapshot: from ``pack``.

    Raises:
        PawprintError: git fails.
    """
    snapshot.seek(0)
    with _task_directory() as place:
        with tarfile.open(fileobj=snapshot) as tar:
            tar.extractall(place, filter="data")
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        cache, root = place / "cache", _unpack(place, meta)
        cache.mkdir(exist_ok=True)
        before = set(_files_of(cache))
        log, times, bundle = place / "log.txt", place / "times.jsonl", place / "bundle"
        write_settings(root, cache)
        ran: list[str] = []
        failed = None
        try:
            for options, targets in (([], meta["made"]), (["--allow-missing"], meta["staying"])):
                if targets:
                    run_dvc(["checkout", *options, *targets], root, log, shown=False)
            command = experiment_command(order.experiment, order.changes, meta["stages"])
            with _environment({**order.environment, ASKED: str(times)}):
                ran = run_dvc(command, root, log, shown=False)
            name = reference(meta["commit"], order.experiment)
            git(root, "bundle", "create", "--quiet", str(bundle), name, f"^{meta['commit']}")
        except StageError as error:
            failed = (error.stage, error.reason)
        return Delivery(
            ran,
            b"" if failed else bundle.read_bytes(),
            {path: (cache / path).read_bytes() for path in set(_files_of(cache)) - before},
            times.read_text(encoding="utf-8") if times.exists() else "",
            log.read_text(encoding="utf-8", errors="replace"),
            failed,
        )


@contextmanager
def _task_directory() -> Iterator[Path]:
    """A temporary directory; those that killed processes have left are removed before."""
    import fcntl  # there is none on Windows

    for left in Path(tempfile.gettempdir()).glob(f"{_TASK}*"):
        with suppress(OSError), open(left / _HELD, encoding="utf-8") as lock:
            if time.time() - os.stat(lock.fileno()).st_mtime > _YOUNG_S:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=_TASK) as directory,
        open(Path(directory, _HELD), "w", encoding="utf-8") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the process ends, however it does
        yield Path(directory)


def _unpack(place: Path, meta: Mapping[str, Any]) -> Path:
    """Check the clone out as the workplace was; the root of the project in it."""
    clone = place / "clone"
    for key, value in meta["user"].items():
        if value:
            git(clone, "config", key, value)
    git(clone, *_SMALLEST, "checkout", "--quiet", "--detach", meta["commit"])
    patch = place / "changes.patch"
    if patch.stat().st_size:
        git(clone, "apply", "--index", "--binary", "--whitespace=nowarn", str(patch))
    root = clone / meta["prefix"]
    for file in _files_of(place / "given"):
        target = root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / "given" / file, target)
    return root


def receive(project: Project, commit: str, experiment: str, delivery: Delivery) -> None:
    """Make a delivered experiment one of the project's, its results in DVC's cache.

    Raises:
        PawprintError: a file is not what its name says; the experiment is then not taken.
    """
    cache = project.cache.parent.parent  # of its files/md5
    for path, content in sorted(delivery.files.items()):
        target = Path(path)
        if target.is_absolute() or ".." in target.parts:
            raise PawprintError(f"{experiment}: a file for {path}, outside of DVC's cache")
        if target.parts[:2] == _HASHED.parts:
            name = "".join(target.parts[2:]).removesuffix(".dir")
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != name:
                raise PawprintError(f"{experiment}: {path} was damaged on its way; run it again")
        if not (cache / target).exists():
            with atomic_write(cache / target) as file:
                file.write(content)
            if target.parts[:2] == _HASHED.parts:
                os.chmod(cache / target, 0o444)  # or DVC would read it again to trust it
    with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
        bundle = Path(directory, "bundle")
        bundle.write_bytes(delivery.bundle)
        take_reference(project, str(bundle), reference(commit, experiment))


def _read_setting(top: Path, key: str) -> str:
    try:
        return git(top, "config", key).strip()
    except PawprintError:
        return ""


def _files_of(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path.relative_to(directory).as_posix()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
