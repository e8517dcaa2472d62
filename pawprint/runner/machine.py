"""What may change the last bits of a result: the processor, GPUs and the libraries."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from pawprint.runner.files import file_digest, files_of

LIBRARIES = (
    *("ai-edge-litert", "dvclive", "keras", "matplotlib", "numpy", "onnx"),
    *("opencv-python-headless", "openvino", "pillow", "scikit-learn", "scipy", "tensorflow"),
    "tf2onnx",
)
NVIDIA = Path("/proc/driver/nvidia")


def name_maker(record: Path, results: Sequence[Path]) -> list[str]:
    """Lines that say what made some results: their digest, then what ``describe_machine`` tells.

    Where the record that git holds is of the same results, that one stays: another machine that
    makes the same bytes changes nothing.

    Args:
        record: the file of these lines, relative to the project's root, the current directory.
        results: files and directories; they are read.
    """
    digest = hashlib.sha256()
    for path in files_of(results):
        digest.update(f"{path.as_posix()}\0{file_digest(path)}\0".encode())
    first = f"results: {digest.hexdigest()[:16]}"
    committed = _read_committed(record)
    if committed[:1] == [first]:
        return committed
    lines = [f"{name}: {value}" for name, value in describe_machine().items()]
    return [first, *lines, *(f"made also by: {other}" for other in other_makers())]


_others: set[str] = set()  # descriptions of machines of other types that took part in this process


def note_other_makers(descriptions: Iterable[str]) -> None:
    """Remember that machines of other types than this one had a part in the results."""
    _others.update(descriptions)


def other_makers() -> list[str]:
    """What was noted, sorted: with it, results are marked."""
    return sorted(_others)


def _read_committed(path: Path) -> list[str]:
    """The lines of a file as of the last commit; none where there is no such file or no git."""
    command = ["git", "show", f"HEAD:./{path.as_posix()}"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
        return [str(line) for line in json.loads(done.stdout)]
    except (OSError, subprocess.CalledProcessError, ValueError, TypeError):
        return []


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
