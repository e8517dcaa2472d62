"""Arrays too large for memory, as a few ``.npy`` files, and the work on them, file by file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from pawprint.files import atomic_write
from pawprint.processes import worker_pool

Shard = TypeVar("Shard")
Result = TypeVar("Result")


def map_shards(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    title: str,
    executor: Executor | None = None,
) -> list[Result]:
    """Apply a function to every shard.

    Args:
        function: a module's function whose outputs depend on its shard alone. It writes them with
            ``write_shard``, to places of that shard's own, and returns their checksums, so that
            whoever runs it, here or elsewhere, can tell whether they arrived.
        shards: picklable descriptions of the work.
        title: what the progress bar says.
        executor: what runs the function; by default a pool with a process for each core.

    Returns:
        One result for each shard, in the order of the shards.
    """
    if executor is None:
        with worker_pool() as pool:
            return map_shards(function, shards, title, pool)
    results = executor.map(function, shards)
    return list(tqdm(results, desc=title, total=len(shards), unit="shard"))


def shard_name(number: int) -> str:
    return f"{number:05d}.npy"


def write_shard(path: Path, array: np.ndarray) -> str:
    """Write an array so that it appears whole or not at all.

    Returns:
        The SHA-256 of the array's elements, in hexadecimal.
    """
    array = np.ascontiguousarray(array)
    with atomic_write(path) as file:
        np.save(file, array)
    return hashlib.sha256(array.data).hexdigest()


class ShardedArray:
    """The rows of all ``.npy`` files of a directory, in the order of their names.

    Rows are read from the files when they are asked for, never kept and never mapped, so memory
    does not grow with the data.

    Attributes:
        shape: [n, ...] of all rows together.
        dtype: of every shard.
    """

    def __init__(self, directory: Path) -> None:
        self.paths = sorted(directory.glob("*.npy"))
        if not self.paths:
            raise FileNotFoundError(2, "no .npy shards", str(directory))
        maps = [np.load(path, mmap_mode="r") for path in self.paths]
        self.dtype: np.dtype = maps[0].dtype
        self.shape: tuple[int, ...] = (sum(len(m) for m in maps), *maps[0].shape[1:])
        self._starts = np.cumsum([0, *(len(m) for m in maps)])
        self._offsets = [m.offset for m in maps]
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._files = [open(path, "rb") for path in self.paths]  # noqa: SIM115 (kept for reads)

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read rows in the order asked for.

        Args:
            indices: [k] row numbers in 0...n-1.

        Returns:
            [k, ...] of this array's dtype.

        Raises:
            IndexError: there is no such row.
            OSError: a file is shorter than it was when it was opened.
        """
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        target = rows.reshape(len(indices), self._row_bytes // self.dtype.itemsize).view(np.uint8)
        for i, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise IndexError(f"row {index} of an array of {len(self)}")
            shard = int(np.searchsorted(self._starts, index, side="right")) - 1
            start = self._offsets[shard] + (int(index) - int(self._starts[shard])) * self._row_bytes
            if os.preadv(self._files[shard].fileno(), [target[i].data], start) != self._row_bytes:
                raise OSError(5, "truncated shard", str(self.paths[shard]))
        return rows

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All rows in order, [size, ...] at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.gather(range(start, min(start + size, len(self))))
