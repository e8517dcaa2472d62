"""One hash of everything that determines a stage's results: the key of unfinished work."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from pawprint.core.params import Params

LIBRARIES = (
    *("ai-edge-litert", "dvclive", "keras", "matplotlib", "numpy", "onnx"),
    *("opencv-python-headless", "openvino", "pillow", "scikit-learn", "scipy", "tensorflow"),
    "tf2onnx",
)
NVIDIA = Path("/proc/driver/nvidia")


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
    for path in _files(deps):
        digest.update(f"\0{path.as_posix()}\0".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _look_up(values: Any, name: str) -> Any:
    """What a section (``model``) or a key (``model.weights_file``) of params.yaml holds."""
    for part in name.split("."):
        values = values[part]
    return values


def _files(deps: list[str]) -> Iterator[Path]:
    for dep in map(Path, sorted(deps)):
        inside = sorted(p for p in dep.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        yield from inside if dep.is_dir() else [dep]


def describe_machine() -> dict[str, str]:
    """What may change the last bits of a result: processor, its instructions, GPUs, versions."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "gpus": _gpus(),
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


def _gpus() -> str:
    """Names and driver of NVIDIA's GPUs, and those of them that are visible, as CUDA is told."""
    files = sorted(NVIDIA.glob("gpus/*/information"))
    names = re.findall(r"^Model:\s*(.+)", "\n".join(f.read_text() for f in files), re.MULTILINE)
    if not names:
        return "none"
    driver = re.search(r"\s(\d+\.[\d.]+)\s", (NVIDIA / "version").read_text())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return f"{', '.join(names)}; driver {driver[1] if driver else ''}; visible: {visible or 'none'}"
