"""One hash of everything that determines a stage's results: the key of unfinished work."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from pawprint.runner.files import file_digest, files_of
from pawprint.runner.machine import describe_machine
from pawprint.runner.params import Params


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
    entry = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    values = params.model_dump()
    tracked = {name: _look_up(values, name) for name in entry.get("params", [])}
    digest = hashlib.sha256(json.dumps([stage, tracked, describe_machine()]).encode())
    deps = [re.sub(r"\$\{(.+?)\}", lambda m: _look_up(values, m[1]), d) for d in entry["deps"]]
    for path in files_of(deps):
        digest.update(f"\0{path.as_posix()}\0".encode())
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def _look_up(values: Any, name: str) -> Any:
    """What a section (``model``) or a key (``model.weights_file``) of params.yaml holds."""
    for part in name.split("."):
        values = values[part]
    return values
