"""Whether an exported model is still the one that the pipeline would export."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from pawprint.inference.classifier import ModelCard
from pawprint.registry.models import find_model
from pawprint.runner.files import UNFINISHED, file_digest


def find_staleness(card: ModelCard, directory: Path) -> str:
    """Why an exported model is not what the pipeline has by now; empty if nothing tells so.

    The files that it was made of are looked for in its project, the second directory above it, and
    are compared by their MD5. Where there are none, as in a container, there is nothing to tell.

    Args:
        card: of the model; what it names outside of the project is not looked at.
        directory: of the model.

    Returns:
        A line: which model, what has changed since, and what makes it anew.
    """
    root = Path(os.path.abspath(directory)).parent.parent
    inside = {name: md5 for name, md5 in card.hashes.items() if not _leads_out(name)}
    there = [name for name in inside if (root / name).is_file()]
    changed = [name for name in there if _md5(root / name) not in ("", inside[name])]
    if changed:
        reason = f"exported before {' and '.join(sorted(changed))} changed"
    elif (model := find_model(card.name)) and model.file in inside.keys() - set(there):
        if not (root / UNFINISHED / model.stage).is_dir():
            return ""
        reason = f"exported before its training was begun anew, which has not made {model.file} yet"
    else:
        return ""
    return f"{directory}: {card.name} was {reason}; `dvc repro` exports it anew"


def _leads_out(name: str) -> bool:
    path = PurePath(name)
    return path.is_absolute() or ".." in path.parts


def _md5(path: Path) -> str:
    """Of a file; empty where it cannot be read, which is no reason to give no answers."""
    try:
        return file_digest(path, "md5")
    except OSError:
        return ""
