"""Whether an output is what the pipeline would have it be, as far as ``dvc.lock`` tells at once.

``dvc status`` tells all of it, and takes seconds. Here the parameters, the output itself and what
its makers read from each other are compared; pictures, pixels and code are not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pawprint.runner.errors import DataError
from pawprint.runner.files import file_digest, files_of
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_yaml

Stages = Mapping[str, Mapping[str, Any]]


def check_outputs(outputs: Sequence[str], params: Params, lock: Path) -> str:
    """Refuse outputs that are missing, or that are known to be out of date.

    Args:
        outputs: files and folders, such as ``data/features/pooled``.
        params: all of them.
        lock: ``dvc.lock``.

    Returns:
        What cannot be told, as one line; empty if there is nothing to say.

    Raises:
        DataError: what is wrong with one of them, and which stage makes it anew.
    """
    stages = _read_stages(lock)
    unknown = [output for output in outputs if not _check(output, stages, params, lock)]
    if not unknown:
        return ""
    return f"{lock} lacks {', '.join(unknown)}: whether this fits params.yaml cannot be told"


def _check(output: str, stages: Stages, params: Params, lock: Path) -> bool:
    """Whether the lock has an output at all."""
    maker = _find_maker(output, stages)
    command = f"run `dvc repro {maker}`" if maker else "run `dvc repro`"
    if not Path(output).exists():
        raise DataError(f"{output}: expected what the pipeline makes, found nothing; {command}")
    if not maker:
        return False
    for stage in _makers(maker, stages):
        for key, old, new in _changed_params(stages[stage], params):
            raise DataError(
                f"{output}: was made with {key} = {old!r}, params.yaml has {new!r}; {command}"
            )
        for path, read, written in _linked_deps(stage, stages):
            if read != written:
                raise DataError(f"{output}: was made from another {path}; {command}")
    if hash_output(Path(output)) != _outs(stages[maker]).get(output):
        raise DataError(f"{output}: expected what {lock} has, found other content; {command}")
    return True


def hash_output(path: Path) -> str:
    """The MD5 of a file, or DVC's of a folder: of the names and sums of its files, as JSON."""
    if path.is_file():
        return file_digest(path, "md5")
    files = [
        {"md5": file_digest(file, "md5"), "relpath": file.relative_to(path).as_posix()}
        for file in files_of([path])
    ]
    ordered = sorted(files, key=lambda entry: tuple(entry["relpath"].split("/")))
    return hashlib.md5(json.dumps(ordered, sort_keys=True).encode()).hexdigest() + ".dir"


def _read_stages(lock: Path) -> Stages:
    try:
        found = load_yaml(lock) if lock.is_file() else {}
        return {name: dict(stage) for name, stage in (found.get("stages") or {}).items()}
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{lock}: expected what DVC wrote, found {' '.join(str(error).split())[:200]}; "
            "restore it by `git checkout dvc.lock`, or run `dvc repro`"
        ) from None


def _outs(stage: Mapping[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry.get("md5", "") for entry in stage.get("outs", [])}


def _find_maker(path: str, stages: Stages) -> str:
    """The stage that writes a path, or a folder that it lies in; empty: none does."""
    for name, stage in stages.items():
        if any(path == out or path.startswith(f"{out}/") for out in _outs(stage)):
            return name
    return ""


def _makers(stage: str, stages: Stages) -> list[str]:
    """A stage, and those whose outputs it reads, directly or not; the first of them come first."""
    found: list[str] = []
    pending = [stage]
    while pending:
        name = pending.pop()
        found = [name, *(other for other in found if other != name)]
        deps = (entry["path"] for entry in stages[name].get("deps", []))
        pending += {maker for dep in deps if (maker := _find_maker(dep, stages))}
    return found


def _changed_params(
    stage: Mapping[str, Any], params: Params
) -> Iterator[tuple[str, object, object]]:
    """Key, and the values in dvc.lock and params.yaml."""
    values = params.model_dump()
    for name, old in stage.get("params", {}).get("params.yaml", {}).items():
        new: Any = values
        for part in name.split("."):
            new = new.get(part) if isinstance(new, dict) else None
        if isinstance(old, dict) and isinstance(new, dict):
            keys = sorted({*old, *new})
            pairs = [(f"{name}.{key}", old.get(key), new.get(key)) for key in keys]
        else:
            pairs = [(name, old, new)]
        yield from (pair for pair in pairs if pair[1] != pair[2])


def _linked_deps(stage: str, stages: Stages) -> Iterator[tuple[str, str, str]]:
    """Path, and the sums of what a stage has read and of what its maker has written since."""
    for entry in stages[stage].get("deps", []):
        path, maker = entry["path"], _find_maker(entry["path"], stages)
        if maker and path in _outs(stages[maker]):
            yield path, entry.get("md5", ""), _outs(stages[maker])[path]
