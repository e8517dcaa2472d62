"""Results as DVC experiments, without a run of DVC: a commit that holds what a run would leave.

An experiment is a git commit on top of the one that the workspace is at, under
``refs/exps/<that commit>/<name>`` (DVC's documents, "How DVC experiments work"). It is written here
in one step, from the same bytes that the stage writes and the entry of ``dvc.lock`` that DVC makes
of them. The workspace, its index and its ``dvc.lock`` stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pawprint.runner.errors import PawprintError, one_line
from pawprint.runner.files import file_digest

# DVC's namespace; that all of this is what DVC would write: see tests/test_private_sides.py
_NAMES = "refs/exps"
LOCK, PARAMS = "dvc.lock", "params.yaml"


class Experiments:
    """Writes experiments of one stage, on top of the workspace as it is when this is made.

    As DVC does, files that git does not track are left out.

    Args:
        stage: its name in ``dvc.yaml``; the current directory is the project's root.

    Raises:
        PawprintError: there is no git repository with a commit, or what the stage reads is not
            what the pipeline would have it be now.
    """

    def __init__(self, stage: str) -> None:
        from dvc.repo import Repo
        from dvc.stage.serialize import to_single_stage_lockfile
        from dvc.utils.serialize import load_yaml

        for library in ("dvc", "dvc_data"):
            logging.getLogger(library).setLevel(logging.CRITICAL)  # which also hides their bars
        self._stage = stage
        self.baseline = read_baseline()
        self._prefix = _git("rev-parse", "--show-prefix").strip()
        self._tree = self._write_workspace()
        with _told_by_dvc():
            self._repo = Repo(os.getcwd())
            self._check_current()
            (entry,) = self._repo.stage.collect(stage)
            self._outs = {out.def_path: out.use_cache for out in entry.outs}
            for dep in entry.deps:
                dep.save()
            entry.outs = []  # of each experiment
            self._entry = to_single_stage_lockfile(entry)
            lock: dict[str, Any] = {"schema": "2.0"}
            if Path(LOCK).exists():
                lock = load_yaml(LOCK)
            self._lock = {**lock, "stages": dict(lock.get("stages", {}))}

    def save(
        self, name: str, message: str, values: Mapping[str, Any], write: Callable[[Path], object]
    ) -> str:
        """Write an experiment; one of the same name is replaced.

        Args:
            name: by which ``dvc exp apply`` knows it.
            message: of the commit.
            values: of params.yaml that are other than in the workspace, by their keys.
            write: puts the outputs of the stage into a directory, under their paths.

        Returns:
            The commit.
        """
        params = edit_params(Path(PARAMS).read_text(encoding="utf-8"), values)
        files = {PARAMS: params.encode()}
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=_made(self._repo.tmp_dir)) as made:
            write(Path(made))
            outs = [self._keep(Path(made), path) for path in sorted(self._outs)]
            for path, cached in self._outs.items():
                if not cached:
                    files[path] = Path(made, path).read_bytes()
        files[LOCK] = self._write_lock(params, outs)
        return self._commit(reference(self.baseline, name), message, files)

    @property
    def conditions(self) -> dict[str, str]:
        """What determines the stage's results: parameters, and a hash of data and code."""
        deps = json.dumps(self._entry["deps"]).encode()
        params = self._entry.get("params", {}).get(PARAMS, {})
        return {"data or code": hashlib.sha256(deps).hexdigest()} | {
            name: json.dumps(value) for key in params for name, value in _leaves(key, params[key])
        }

    def _write_workspace(self) -> str:
        """The tree of all tracked files as they are now, by a copy of git's index."""
        index = Path(_git("rev-parse", "--git-path", "index").strip())
        with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
            copy = Path(shutil.copy2(index, directory))
            _git("add", "--update", ":/", index=copy)
            return _git("write-tree", index=copy).strip()

    def _check_current(self) -> None:
        stale = self._repo.status(targets=[self._stage], with_deps=True)
        others = [name.rpartition(":")[2] for name in stale if name != self._stage]
        if others:
            raise PawprintError(
                f"stage {others[0]}: its results are missing, or not those of {PARAMS}, data and "
                f"code as they are now; run `dvc repro {self._stage}` first"
            )

    def _keep(self, made: Path, path: str) -> dict[str, Any]:
        """Put an output into DVC's cache, if it goes there; its entry in ``dvc.lock``."""
        if not self._outs[path]:
            file = made / path
            known = {"md5": file_digest(file, "md5"), "size": file.stat().st_size}
            return {"path": path, "hash": "md5", **known}
        from dvc.fs import LocalFileSystem
        from dvc_data.hashfile.build import build
        from dvc_data.hashfile.transfer import transfer

        cache = self._repo.cache.local
        staging, meta, found = build(cache, str(made / path), LocalFileSystem(), "md5")
        transfer(staging, cache, {found.hash_info}, shallow=False)
        entry = {"path": path, "hash": "md5", "md5": found.hash_info.value, "size": meta.size}
        return {**entry, "nfiles": meta.nfiles} if meta.isdir else entry

    def _write_lock(self, params: str, outs: Sequence[dict[str, Any]]) -> bytes:
        from dvc.utils.serialize import dumps_yaml, loads_yaml

        values = loads_yaml(params)
        tracked = {
            key: _look_up(values, key) for key in self._entry.get("params", {}).get(PARAMS, {})
        }
        entry = {**self._entry, "params": {PARAMS: tracked}, "outs": list(outs)}
        lock = {**self._lock, "stages": {**self._lock["stages"], self._stage: entry}}
        return str(dumps_yaml(lock)).encode()

    def _commit(self, ref: str, message: str, files: Mapping[str, bytes]) -> str:
        """Add files to the workspace's tree; git takes all of it in, or nothing.

        Source: git's documents, git-fast-import.
        """
        ident = _git("var", "GIT_COMMITTER_IDENT").strip()
        lines = [f"commit {ref}\ncommitter {ident}\n".encode(), _data(message.encode())]
        lines.append(f'from {self.baseline}\nM 040000 {self._tree} ""\n'.encode())
        for path, content in files.items():
            lines += [f"M 100644 inline {self._prefix}{path}\n".encode(), _data(content)]
        command = ("-c", "fastimport.unpackLimit=1000", "fast-import", "--quiet", "--force")
        _git(*command, given=b"".join(lines))
        return _git("rev-parse", ref).strip()


def read_baseline() -> str:
    """The commit that the workspace is at.

    Raises:
        PawprintError: there is none, or git does not know its user.
    """
    try:
        found = _git("rev-parse", "--verify", "HEAD").strip()
    except PawprintError:
        raise PawprintError(
            "experiments need a git repository with a commit: git init && git add . && "
            "git commit -m start, then dvc config core.no_scm false"
        ) from None
    _git("var", "GIT_COMMITTER_IDENT")
    return found


def find_experiment(baseline: str, name: str) -> str:
    """The commit of an experiment; empty if there is none."""
    return _git("for-each-ref", "--format=%(objectname)", reference(baseline, name)).strip()


def remove_experiment(baseline: str, name: str) -> None:
    """Remove one that may not be there."""
    if find_experiment(baseline, name):
        _git("update-ref", "-d", reference(baseline, name))


def remove_experiments(search: str) -> int:
    """Remove the experiments of a search, of whatever commit they are; how many there were."""
    names = _git("for-each-ref", "--format=%(refname)", _NAMES).split()
    own = [name for name in names if re.fullmatch(rf".*/{re.escape(search)}-\d{{4,}}", name)]
    for name in own:
        _git("update-ref", "-d", name)
    return len(own)


def edit_params(text: str, values: Mapping[str, Any]) -> str:
    """params.yaml with other values, its comments and all else as it was."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    if not values:
        return text
    for name in values:
        text = _with_list_in_line(text, *name.split("."))
    content = parse_yaml_for_update(text, PARAMS)
    for name, value in values.items():
        section, key = name.split(".")
        # Read as YAML, a list stays in its line
        as_written = parse_yaml_for_update(json.dumps(value), PARAMS) if value else value
        content[section][key] = as_written if isinstance(value, list) else value
    return str(dumps_yaml(content))


def _with_list_in_line(text: str, section: str, key: str) -> str:
    """An empty list in the place of one that stands below its key, as DVC writes lists.

    Where the key has a comment, what DVC reads YAML with would write another value for it wrongly.
    """
    begin = re.search(rf"(?m)^{section}:.*\n", text)
    if begin is None:
        return text
    end = re.compile(r"(?m)^\w").search(text, begin.end())
    place = slice(begin.end(), end.start() if end else len(text))
    below = rf"(?m)^(  {key}:)(\s*#.*)?\n(?: *- .*\n)+"
    return (
        text[: place.start]
        + re.sub(below, lambda found: f"{found[1]} []{found[2] or ''}\n", text[place])
        + text[place.stop :]
    )


def reference(baseline: str, name: str) -> str:
    """Where git keeps an experiment."""
    return f"{_NAMES}/{baseline[:2]}/{baseline[2:]}/{name}"


def _look_up(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)


def _data(content: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(content), content)


def _made(directory: str) -> str:
    os.makedirs(directory, exist_ok=True)
    return directory


def _git(*arguments: str, given: bytes = b"", index: Path | None = None) -> str:
    if not shutil.which("git"):
        raise PawprintError("git: not found; experiments need it")
    other = {} if index is None else {"GIT_INDEX_FILE": str(index)}
    done = subprocess.run(
        ["git", *arguments], input=given, capture_output=True, env={**os.environ, **other}
    )
    if done.returncode:
        said = one_line(done.stderr.decode(errors="replace"))
        raise PawprintError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode()


@contextmanager
def _told_by_dvc() -> Iterator[None]:
    """What DVC cannot do, in one line."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise PawprintError(f"dvc: {one_line(error)}") from None
