"""What may change the last bits of a result, and the record of what made which result.

``metrics/machine.json`` is kept by git, and no output of DVC: it stays as it is where another
machine makes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from pawprint.runner.files import atomic_write, file_digest
from pawprint.runner.pipeline import files_of, outputs

LIBRARIES = (
    *("ai-edge-litert", "dvclive", "keras", "matplotlib", "numpy", "onnx"),
    *("opencv-python-headless", "openvino", "pillow", "scikit-learn", "scipy", "tensorflow"),
    "tf2onnx",
)
NVIDIA = Path("/proc/driver/nvidia")
RECORD = Path("metrics/machine.json")


def record_machine(stage: str) -> None:
    """Write down that this machine made a stage's results, unless they were made before.

    The record is a list of machines; each has under ``made`` the stages whose results it made,
    with a digest of these results.

    Args:
        stage: its name in ``dvc.yaml``; run from the project's root.

    Raises:
        OSError: the record, or an output, cannot be read or written.
    """
    results = _digest(outputs(stage))
    records = _read_records()
    if not results or any(record["made"].get(stage) == results for record in records):
        return
    for record in records:
        record["made"].pop(stage, None)
    machine = describe_machine()
    if all(record["machine"] != machine for record in records):
        records.append({"made": {}, "machine": machine})
    next(r for r in records if r["machine"] == machine)["made"][stage] = results
    text = json.dumps([record for record in records if record["made"]], indent=2)
    with atomic_write(RECORD) as file:
        file.write(f"{text}\n".encode())


def _read_records() -> list[dict[str, Any]]:
    try:
        records = json.loads(RECORD.read_text(encoding="utf-8"))
        return [{"made": dict(r["made"]), "machine": dict(r["machine"])} for r in records]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        print(f"{RECORD} is damaged; it is begun anew", flush=True)
        return []


def _digest(paths: list[str]) -> str:
    """Of the names and contents of all files; empty where there are none."""
    digest = hashlib.sha256()
    files = list(files_of(paths))
    for path in files:
        digest.update(f"{path.as_posix()}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()[:16] if files else ""


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
