"""What the features of a picture follow from, as hashes: by them the next run knows its rows."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pawprint.runner.files import file_digest
from pawprint.runner.params import AugmentParams
from pawprint.runner.processes import available_cores
from pawprint.storage.shards import ShardedArray
from pawprint.transfer.cut import view_transforms

_ROWS = 64  # read at once


def hash_views(images: Path, augment: AugmentParams, seed: int, views: int) -> list[str]:
    """For each picture of a split a hash of what its features are made of, besides the network.

    That is its pixels, and how each view beyond the first changes them.

    Args:
        images: directory of the split's pixels.
        augment: how they are changed.
        seed: of the augmented views.
        views: how many; the first is the plain picture.
    """
    array = ShardedArray(images)
    tables = [
        view_transforms(augment, len(array), array.shape[1], seed, view) for view in range(1, views)
    ]

    def hash_some(rows: range) -> list[str]:
        found = []
        for row, pixels in zip(rows, array.gather(rows), strict=True):
            digest = hashlib.sha256(pixels)
            for table in tables:
                digest.update(b"" if table is None else table[row].tobytes())
            found.append(digest.hexdigest())
        return found

    parts = [range(i, min(i + _ROWS, len(array))) for i in range(0, len(array), _ROWS)]
    with ThreadPoolExecutor(available_cores()) as threads:
        return [key for keys in threads.map(hash_some, parts) for key in keys]


def hash_network(network: Path) -> str:
    """Of its weights and its layers: they make the features, wherever they came from."""
    files = sorted(network.parent.glob(f"{network.stem}.*"))
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()
