"""What ``dvc.yaml`` says of a stage: the files that it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml


def read_entry(stage: str) -> dict[str, Any]:
    """The entry of a stage in the ``dvc.yaml`` of the current directory."""
    return yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]


def outputs(stage: str) -> list[str]:
    """Paths of a stage's outs, metrics and plots."""
    entry = read_entry(stage)
    listed = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    return [path for out in listed for path in ([out] if isinstance(out, str) else out)]


def files_of(paths: Sequence[str]) -> Iterator[Path]:
    """Files, and all files in directories, sorted; without what Python leaves among modules."""
    for path in map(Path, sorted(paths)):
        inside = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        yield from inside if path.is_dir() else [path]
