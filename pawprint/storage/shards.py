"""Arrays too large for memory, as a few ``.npy`` files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pawprint.runner.files import atomic_write

OPEN_FILES = 64  # of one array at a time; a process may have 1024, or fewer


def shard_name(number: int) -> str:
    return f"{number:05d}.npy"


def write_shard(path: Path, array: np.ndarray) -> None:
    """Write an array so that it appears whole or not at all; its directory is flushed later."""
    array = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(array)
    with atomic_write(path, flush=False) as file:
        # Not np.save: where the disk is full, it does not say so
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


class _OpenFile:
    """A file that is closed when nobody reads it any more, whichever thread that is."""

    number = -1

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.number >= 0:  # at the end of Python there may be no module os any more
            close(self.number)


class ShardedArray:
    """The rows of all ``.npy`` files of a directory, in the order of their names, or of some files.

    Rows are read from the files when they are asked for, never kept and never mapped, and few files
    are open at a time: neither memory nor open files grow with the data.

    Attributes:
        shape: [n, ...] of all rows together.
        dtype: of every shard.
    """

    def __init__(self, place: Path | Sequence[Path]) -> None:
        self.paths = sorted(place.glob("*.npy")) if isinstance(place, Path) else list(place)
        if not self.paths:
            raise FileNotFoundError(2, "no .npy shards", str(place))
        shapes = []
        self._offsets = []
        for path in self.paths:
            with open(path, "rb") as file:
                np.lib.format.read_magic(file)
                shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
                shapes.append(shape)
                self._offsets.append(file.tell())
        self._starts = np.cumsum([0, *(shape[0] for shape in shapes)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *shapes[0][1:])
        self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._open = lru_cache(maxsize=OPEN_FILES)(_OpenFile)

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
            file = self._open(self.paths[shard])  # stays open while it is read
            if os.preadv(file.number, [target[i].data], start) != self._row_bytes:
                raise OSError(5, "truncated shard", str(self.paths[shard]))
        return rows

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All rows in order, [size, ...] at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.gather(range(start, min(start + size, len(self))))
