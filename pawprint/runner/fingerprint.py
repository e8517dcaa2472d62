"""Everything that determines a stage's results: one hash of it, and whether it stayed as it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pawprint.runner.errors import DataError, ParamsError
from pawprint.runner.files import file_digest, files_of
from pawprint.runner.machine import describe_machine
from pawprint.runner.params import Params
from pawprint.runner.params_file import load_params

_WRITTEN_BY_HAND = {".py", ".csv", ".json"}  # git may write them anew as they were


def fingerprint(stage: str, params: Params) -> str:
    """Hash what a stage depends on, which ``dvc.yaml`` states and the tests prove.

    Args:
        stage: its name in ``dvc.yaml``; run from the project's root.
        params: of which the sections that the stage tracks count.

    Returns:
        SHA-256, in hexadecimal, of the contents of the stage's dependencies, of its parameters, and
        of the machine and the libraries, since these change the last bits. Engine and precision
        follow from parameters and machine where they are left to Pawprint.

    Raises:
        OSError: a dependency cannot be read.
    """
    tracked, deps = _read_entry(stage, params)
    digest = hashlib.sha256(json.dumps([stage, tracked, describe_machine()]).encode())
    for path in files_of(deps):
        digest.update(f"\0{path.as_posix()}\0".encode())
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


@contextmanager
def unchanged_inputs(stage: str, params: Params) -> Iterator[None]:
    """Check that nobody changes what a stage depends on while the block works on it.

    DVC hashes it when the stage has ended, and would take the outputs for those of the changes.

    Args:
        stage: its name; what ``dvc.yaml`` does not name may change.
        params: all of them, as they were read.

    Raises:
        DataError: somebody has; the first file or key of it.
    """
    try:
        tracked, deps = _read_entry(stage, params)
    except (OSError, KeyError):
        yield
        return
    before = _look_at(deps)
    yield
    after = _look_at(deps)
    changed = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    changed += [f"params.yaml: {key}" for key in _find_other_values(tracked)]
    if changed:
        raise DataError(
            f"{changed[0]}: changed while this stage ran, which has read it at its start; run "
            "`dvc repro` again"
        )


def _read_entry(stage: str, params: Params) -> tuple[dict[str, Any], list[str]]:
    """The parameters that ``dvc.yaml`` names for a stage, and its dependencies."""
    entry = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    values = params.model_dump()
    # A whole file of them is a mapping from its name: that of stage params, which makes nothing
    names = [name for name in entry.get("params", []) if isinstance(name, str)]
    deps = [re.sub(r"\$\{(.+?)\}", lambda m: _look_up(values, m[1]), d) for d in entry["deps"]]
    return {name: _look_up(values, name) for name in names}, deps


def _look_at(deps: list[str]) -> dict[str, object]:
    """What tells whether a file was written since: its content, or of others size and time."""
    found: dict[str, object] = {}
    for path in files_of(deps):
        try:
            stat = path.stat()
            by_content = path.suffix in _WRITTEN_BY_HAND
            seen = file_digest(path) if by_content else (stat.st_size, stat.st_mtime_ns)
        except OSError:  # nothing is there, or it is being replaced
            continue
        found[path.as_posix()] = seen
    return found


def _find_other_values(tracked: Mapping[str, Any]) -> list[str]:
    """Keys that params.yaml now gives other values: all of them, if it cannot be read."""
    if not tracked:
        return []
    try:
        values = load_params().model_dump()
    except (OSError, ParamsError):
        return list(tracked)
    return [name for name, value in tracked.items() if _look_up(values, name) != value]


def _look_up(values: Any, name: str) -> Any:
    """What a section (``model``) or a key (``model.weights_file``) of params.yaml holds."""
    for part in name.split("."):
        values = values[part]
    return values
