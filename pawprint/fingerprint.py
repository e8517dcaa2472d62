"""One hash of everything that determines a stage's results: the key of unfinished work."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml

from pawprint.params import Params

LIBRARIES = ("keras", "numpy", "opencv-python-headless", "openvino", "pillow", "tensorflow")


def fingerprint(stage: str, params: Params) -> str:
    """Hash what a stage depends on, which ``dvc.yaml`` states and the tests prove.

    Args:
        stage: its name in ``dvc.yaml``; run from the project's root.
        params: of which the sections that the stage tracks count.

    Returns:
        SHA-256, in hexadecimal, of the contents of the stage's dependencies, of its parameters, and
        of the machine and the libraries, since these change the last bits.

    Raises:
        OSError: a dependency cannot be read.
    """
    entry = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    values = params.model_dump()
    sections = {name: values[name] for name in entry.get("params", []) if name in values}
    digest = hashlib.sha256(json.dumps([stage, sections, describe_machine()]).encode())
    for path in _files(entry["deps"]):
        digest.update(f"\0{path.as_posix()}\0".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(deps: list[str]) -> Iterator[Path]:
    for dep in map(Path, sorted(deps)):
        yield from sorted(p for p in dep.rglob("*") if p.is_file()) if dep.is_dir() else [dep]


def describe_machine() -> dict[str, str]:
    """What may change the last bits of a result: processor, its instructions, versions."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    """Model name and a hash of the instruction sets, where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = hashlib.sha256(fields.get("flags", fields.get("Features", "")).encode()).hexdigest()
    return f"{fields.get('model name', platform.machine()).strip()}, instructions {flags[:8]}"
