"""Arrays too large for memory, as a few ``.npy`` files, and the work on them, file by file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from pawprint.core.errors import PawprintError
from pawprint.core.files import atomic_write
from pawprint.core.processes import worker_pool

Shard = TypeVar("Shard")
Result = TypeVar("Result")
OPEN_FILES = 64  # of one array at a time; a process may have 1024, or fewer


def map_shards(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    title: str,
    executor: Executor | None = None,
    journal: Path | None = None,
) -> list[Result]:
    """Apply a function to every shard.

    Args:
        function: a module's function whose outputs depend on its shard alone. It writes them with
            ``write_shard``, to places of that shard's own.
        shards: picklable descriptions of the work.
        title: what the progress bar says.
        executor: what runs the function; by default a pool with a process for each core.
        journal: directory of notes on what is done, so that a run that was stopped can be
            continued: shards whose files are still those of their note are not worked on again.
            Shards must then have ``files``, the paths that the function writes, and results must
            be JSON values. It is for one list of shards: where these change, it must be another.

    Returns:
        One result for each shard, in the order of the shards.

    Raises:
        PawprintError: a worker process was killed.
    """
    if executor is None:
        with worker_pool() as pool:
            return map_shards(function, shards, title, pool, journal)
    with lost_workers_named(title):
        if journal is None:
            return list(_follow(executor.map(function, shards), title, len(shards)))
        return _continue(function, shards, title, executor, journal)


@contextmanager
def lost_workers_named(title: str) -> Iterator[None]:
    """Say in one line that a worker process was killed, by the system most likely.

    Raises:
        PawprintError: that line.
    """
    try:
        yield
    except BrokenExecutor as error:
        raise PawprintError(
            f"{title}: a worker process was killed, perhaps for lack of memory; free some, "
            "then run `dvc repro` again"
        ) from error


def _follow(results: Iterable[Result], title: str, total: int, done: int = 0) -> Iterable[Result]:
    return tqdm(results, desc=title, total=total, initial=done, unit="shard")


def _continue(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    title: str,
    executor: Executor,
    journal: Path,
) -> list[Result]:
    notes = [journal / f"{number:05d}.json" for number in range(len(shards))]
    begun = any(note.exists() for note in notes)
    found: list[Any] = list(executor.map(_read_note, notes)) if begun else [None] * len(notes)
    missing = [i for i, note in enumerate(found) if note is None]
    done = len(shards) - len(missing)
    if begun:
        print(f"continuing: {done} of {len(shards)} shards were done", flush=True)
    work = partial(_work_and_note, function)
    new = executor.map(work, [shards[i] for i in missing], [notes[i] for i in missing])
    for i, note in zip(missing, _follow(new, title, len(shards), done), strict=True):
        found[i] = note
    return [note["result"] for note in found]


def _work_and_note(function: Callable[[Any], Any], shard: Any, path: Path) -> dict[str, Any]:
    """Do the work of a shard, then write down its result and the checksums of its files."""
    result = function(shard)
    sums = {file.as_posix(): _checksum(file) for file in shard.files}
    text = json.dumps({"result": result, "files": sums}, ensure_ascii=False)
    with atomic_write(path, flush=False) as note:
        note.write(f"{_digest(text)}\n{text}".encode())
    return json.loads(text)


def _read_note(path: Path) -> dict[str, Any] | None:
    """A note, if it is whole and all of its files are those that it describes."""
    try:
        digest, text = path.read_text(encoding="utf-8").split("\n", 1)
        if digest != _digest(text):
            return None
        note = json.loads(text)
        whole = all(_checksum(Path(file)) == value for file, value in note["files"].items())
        return note if whole else None
    except (OSError, ValueError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


class ShardedArray:
    """The rows of all ``.npy`` files of a directory, in the order of their names.

    Rows are read from the files when they are asked for, never kept and never mapped, and few files
    are open at a time: neither memory nor open files grow with the data.

    Attributes:
        shape: [n, ...] of all rows together.
        dtype: of every shard.
    """

    def __init__(self, directory: Path) -> None:
        self.paths = sorted(directory.glob("*.npy"))
        if not self.paths:
            raise FileNotFoundError(2, "no .npy shards", str(directory))
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
        self._open = lru_cache(maxsize=OPEN_FILES)(partial(open, mode="rb"))

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
            file = self._open(
                self.paths[shard]
            )  # kept while it is read: another thread may open more
            if os.preadv(file.fileno(), [target[i].data], start) != self._row_bytes:
                raise OSError(5, "truncated shard", str(self.paths[shard]))
        return rows

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All rows in order, [size, ...] at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.gather(range(start, min(start + size, len(self))))
