"""What a row's bytes follow from, besides the picture that it is of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pawprint.runner.files import file_digest, files_of
from pawprint.runner.machine import LIBRARIES, describe_machine

_DECODERS = ("pi-heif",)  # besides those of LIBRARIES: it decodes HEIC


def describe_recipe(stage: str, settings: Mapping[str, Any], floats: bool) -> str:
    """Hash what makes the rows of a stage.

    Args:
        stage: its name in ``dvc.yaml``, in the current directory; of its dependencies the code
            counts, all of it.
        settings: JSON values, the parameters that a row follows from.
        floats: whether rows come of floating point, whose last bits differ among machines.

    Returns:
        SHA-256, in hexadecimal.
    """
    entry = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    machine = describe_machine()
    kept = ("python", *LIBRARIES, *(("system", "processor") if floats else ()))
    versions = {name: metadata.version(name) for name in _DECODERS}
    values = [dict(settings), {name: machine[name] for name in kept} | versions]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for path in files_of(dep for dep in entry["deps"] if _is_code(dep)):
        digest.update(f"\0{path.as_posix()}\0{file_digest(path)}".encode())
    return digest.hexdigest()


def _is_code(dep: str) -> bool:
    return dep.endswith(".py") or Path(dep, "__init__.py").is_file()
