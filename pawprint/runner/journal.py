"""Work on many shards by many processes, and a journal by which a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from pawprint.runner.files import atomic_write, file_digest
from pawprint.runner.processes import worker_pool

Shard = TypeVar("Shard")
ShardResult = TypeVar("ShardResult")


def map_shards(
    function: Callable[[Shard], ShardResult],
    shards: Sequence[Shard],
    title: str,
    executor: Executor | None = None,
    journal: Path | None = None,
    known: Mapping[int, ShardResult] | None = None,
) -> list[ShardResult]:
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
        known: number of a shard → result, of those whose work is done already.

    Returns:
        One result for each shard, in the order of the shards.

    Raises:
        PawprintError: a worker process was killed, see ``worker_pool``.
    """
    results = dict(known or {})
    missing = [i for i in range(len(shards)) if i not in results]
    if not missing:
        return [results[i] for i in range(len(shards))]
    if executor is None:
        with worker_pool(title) as pool:
            return map_shards(function, shards, title, pool, journal, known)
    if journal is None:
        new = executor.map(function, [shards[i] for i in missing])
        results |= zip(missing, _follow(new, title, len(shards), len(results)), strict=True)
    else:
        results |= _continue(function, shards, title, executor, journal, missing)
    return [results[i] for i in range(len(shards))]


def _follow(
    results: Iterable[ShardResult], title: str, total: int, done: int = 0
) -> Iterable[ShardResult]:
    return tqdm(results, desc=title, total=total, initial=done, unit="shard")


def _continue(
    function: Callable[[Shard], ShardResult],
    shards: Sequence[Shard],
    title: str,
    executor: Executor,
    journal: Path,
    wanted: Sequence[int],
) -> dict[int, ShardResult]:
    notes = {i: journal / f"{i:05d}.json" for i in wanted}
    begun = any(note.exists() for note in notes.values())
    read = executor.map(_read_note, notes.values()) if begun else [None] * len(notes)
    found: dict[int, Any] = dict(zip(notes, read, strict=True))
    missing = [i for i, note in found.items() if note is None]
    done = len(shards) - len(missing)
    if begun:
        print(f"continuing: {done} of {len(shards)} shards were done", flush=True)
    work = partial(_work_and_note, function)
    new = executor.map(work, [shards[i] for i in missing], [notes[i] for i in missing])
    for i, note in zip(missing, _follow(new, title, len(shards), done), strict=True):
        found[i] = note
    return {i: note["result"] for i, note in found.items()}


def _work_and_note(function: Callable[[Any], Any], shard: Any, path: Path) -> dict[str, Any]:
    """Do the work of a shard, then write down its result and the checksums of its files."""
    result = function(shard)
    sums = {file.as_posix(): file_digest(file) for file in shard.files}
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
        whole = all(file_digest(Path(file)) == value for file, value in note["files"].items())
        return note if whole else None
    except (OSError, ValueError, KeyError, TypeError):  # of another version, perhaps
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
