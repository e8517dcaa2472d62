"""Unfinished trainings, kept so that a killed stage continues after its last finished epoch."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.runner.files import atomic_write

KEPT = 2  # should the newest be damaged, the one before serves
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Progress:
    """A training after some of its epochs.

    Attributes:
        logs: the figures of each of these epochs.
        stopped: early stopping ended it.
        weights: of the model, as ``get_weights`` gives them.
        optimizer: its variables: iterations, learning rate, moments, accumulated gradients.
        best_weights: those of the best epoch.
    """

    logs: list[dict[str, float]]
    stopped: bool
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best_weights: list[np.ndarray]


@dataclass(frozen=True)
class Checkpoints:
    """The last epochs of one training, a file each, in a directory of its own."""

    directory: Path

    def load(self) -> Progress | None:
        """The newest one that is whole; a damaged one is named, and deleted."""
        for path in reversed(self._paths()):
            progress = _read(path)
            if progress is not None:
                return progress
            print(f"{path} is damaged and not used", flush=True)
            path.unlink()
        return None

    def save(self, progress: Progress) -> None:
        """Add a checkpoint; it is on the disk before older ones are deleted.

        Raises:
            OSError: the disk is full, or the directory cannot be written.
        """
        _write(self.directory / f"epoch_{len(progress.logs):05d}.checkpoint", progress)
        for path in self._paths()[:-KEPT]:
            path.unlink()

    def _paths(self) -> list[Path]:
        return sorted(self.directory.glob("epoch_*.checkpoint"))


_GROUPS = ("weights", "optimizer", "best_weights")


def _write(path: Path, progress: Progress) -> None:
    """Write a checksum of what follows, then an archive as of ``np.savez``."""
    groups = {name: getattr(progress, name) for name in _GROUPS}
    counts = {name: len(arrays) for name, arrays in groups.items()}
    rest = {"logs": progress.logs, "stopped": progress.stopped, "counts": counts}
    content = io.BytesIO()
    np.savez(
        content,
        rest=np.array(json.dumps(rest)),
        **{f"{name}_{i}": array for name in _GROUPS for i, array in enumerate(groups[name])},
    )
    with atomic_write(path) as file:
        file.write(hashlib.sha256(content.getbuffer()).digest())
        file.write(content.getbuffer())


def _read(path: Path) -> Progress | None:
    """What ``_write`` wrote; None if these are other bytes."""
    content = path.read_bytes()
    checksum, archive = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(archive).digest() != checksum:
        return None
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        rest = json.loads(str(arrays["rest"]))
        groups = {
            name: [arrays[f"{name}_{i}"] for i in range(rest["counts"][name])] for name in _GROUPS
        }
    return Progress(rest["logs"], rest["stopped"], **groups)
