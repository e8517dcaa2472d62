"""Work on many shards by many processes, here or elsewhere, and a journal by which a stopped run
goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from pawprint.runner.files import atomic_write, file_digest
from pawprint.runner.machine import note_other_makers, other_makers
from pawprint.runner.processes import available_cores, worker_pool

Shard = TypeVar("Shard")
ShardResult = TypeVar("ShardResult")


@dataclass(frozen=True)
class Tool:
    """What work on all shards needs, such as a network: it travels once and is opened once.

    Attributes:
        files: to be there, in one directory; their names differ.
        open: that directory → what the work is handed. Picklable: a module's function, or a
            ``partial`` of one. The files are gone when it has returned.
    """

    files: tuple[Path, ...]
    open: Callable[[Path], Any]


@dataclass(frozen=True)
class ShardTask:
    """How a shard is worked on by a process that sees none of the files of this machine.

    Attributes:
        read: a shard → what is sent, picklable, and what is kept here until the answer comes.
        work: what was sent, and the opened tool (or None) → the answer, picklable. A module's
            function; nothing but its arguments, machine and libraries may change what it returns.
        write: the shard, what was kept, and the answer → the result, its files written.
        count: pictures of a shard, or what else is counted.
        tool: see there.
        unit: what is counted, in the singular.
        cores: that the work on one shard takes.
        is_quick: whether a shard without an answer for long is worked on once more elsewhere; else
            that is done only where its machine is lost.
    """

    read: Callable[[Any], tuple[Any, Any]]
    work: Callable[[Any, Any], Any]
    write: Callable[[Any, Any, Any], Any]
    count: Callable[[Any], int]
    tool: Tool | None = None
    unit: str = "picture"
    cores: int = 1
    is_quick: bool = True


class ShardEngine(Protocol):
    """What does shard_tasks, one list of shards at a time."""

    def run(
        self, shard_task: ShardTask, shards: Mapping[int, Any], title: str
    ) -> Iterator[tuple[int, Any, Any]]:
        """Number of a shard, what was kept of it, and the answer: of each shard once.

        They come in any order, and no more is read than a few shards ahead of what is taken.

        Raises:
            PawprintError: the work cannot begin, or not go on.
        """
        ...

    def describe(self) -> str:
        """What the list of shards cost, for the user."""
        ...


_engine: ShardEngine | None = None  # of this process; None: its own processes work on shards


@contextmanager
def engine_in_use(engine: ShardEngine) -> Iterator[None]:
    """Have an engine do all shard_tasks of the block."""
    global _engine
    before, _engine = _engine, engine
    try:
        yield
    finally:
        _engine = before


def works_elsewhere() -> bool:
    """Whether shards that can travel do so: then this process needs no workers for them."""
    return _engine is not None


def tell_work_stays(title: str) -> None:
    """Say that work stays here which an engine could have done, on OpenVINO."""
    if works_elsewhere():
        print(f"{title}: on this machine alone, as it has a GPU or runtime.engine is tensorflow")


def map_shards(
    function: Callable[[Shard], ShardResult],
    shards: Sequence[Shard],
    title: str,
    executor: Executor | None = None,
    journal: Path | None = None,
    known: Mapping[int, ShardResult] | None = None,
    shard_task: ShardTask | None = None,
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
        shard_task: how the same is done elsewhere, if there is an engine, see ``engine_in_use``;
            the files and the results are equal.

    Returns:
        One result for each shard, in the order of the shards.

    Raises:
        PawprintError: a worker process was killed, see ``worker_pool``; or see ``ShardEngine``.
    """
    results = dict(known or {})
    missing = [i for i in range(len(shards)) if i not in results]
    if not missing:
        return [results[i] for i in range(len(shards))]
    if shard_task is not None and works_elsewhere():
        return send_shards(shard_task, shards, title, journal, results)
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
    notes = _name_notes(journal, wanted)
    found = _read_notes(notes, executor, len(shards))
    missing = [i for i in wanted if i not in found]
    work = partial(_work_and_note, function)
    new = executor.map(work, [shards[i] for i in missing], [notes[i] for i in missing])
    done = len(shards) - len(missing)
    for i, result in zip(missing, _follow(new, title, len(shards), done), strict=True):
        found[i] = result
    return found


def send_shards(
    shard_task: ShardTask,
    shards: Sequence[Any],
    title: str,
    journal: Path | None = None,
    known: Mapping[int, Any] | None = None,
) -> list[Any]:
    """The same by the engine in use: what comes back is written, and noted, at once.

    Args:
        shard_task: how it is done.
        shards: see ``map_shards``, as the others.
        title: see there.
        journal: see there.
        known: see there.
    """
    if _engine is None:
        raise RuntimeError(f"{title}: no engine is in use")
    results = dict(known or {})
    wanted = [i for i in range(len(shards)) if i not in results]
    notes = {} if journal is None else _name_notes(journal, wanted)
    with ThreadPoolExecutor(available_cores()) as threads:
        results |= _read_notes(notes, threads, len(shards))
    sent = {i: shards[i] for i in wanted if i not in results}
    counts = [shard_task.count(shard) for shard in shards]
    done = sum(counts) - sum(counts[i] for i in sent)
    if sent:
        answers = _engine.run(shard_task, sent, title)
        with tqdm(desc=title, total=sum(counts), initial=done, unit=shard_task.unit) as bar:
            for i, kept, answer in answers:
                if i in results:
                    raise RuntimeError(f"{title}: two answers for shard {i}")
                result = shard_task.write(shards[i], kept, answer)
                results[i] = _note(shards[i], result, notes[i]) if notes else result
                bar.update(counts[i])
        print(_engine.describe(), flush=True)
    return [results[i] for i in range(len(shards))]


def _name_notes(journal: Path, wanted: Iterable[int]) -> dict[int, Path]:
    return {i: journal / f"{i:05d}.json" for i in wanted}


def _read_notes(notes: Mapping[int, Path], executor: Executor, total: int) -> dict[int, Any]:
    """The results of the shards that are done, of `total`."""
    if not any(note.exists() for note in notes.values()):
        return {}
    read = zip(notes, executor.map(_read_note, notes.values()), strict=True)
    whole = {i: note for i, note in read if note is not None}
    found = {i: note["result"] for i, note in whole.items()}
    note_other_makers(maker for note in whole.values() for maker in note["others"])
    print(f"continuing: {total - len(notes) + len(found)} of {total} shards were done", flush=True)
    return found


def _work_and_note(function: Callable[[Any], Any], shard: Any, path: Path) -> Any:
    """Do the work of a shard, then write down its result and the checksums of its files."""
    return _note(shard, function(shard), path)


def _note(shard: Any, result: Any, path: Path) -> Any:
    """Write down that a shard is done; its result as it will be read again."""
    sums = {file.as_posix(): file_digest(file) for file in shard.files}
    content = {"result": result, "files": sums, "others": other_makers()}
    text = json.dumps(content, ensure_ascii=False)
    with atomic_write(path, flush=False) as note:
        note.write(f"{_digest(text)}\n{text}".encode())
    return json.loads(text)["result"]


def _read_note(path: Path) -> dict[str, Any] | None:
    """A note, if it is whole and all of its files are those that it describes."""
    try:
        digest, text = path.read_text(encoding="utf-8").split("\n", 1)
        if digest != _digest(text):
            return None
        note = json.loads(text)
        whole = all(file_digest(Path(file)) == value for file, value in note["files"].items())
        return note if whole and "others" in note else None
    except (OSError, ValueError, KeyError, TypeError):  # of another version, perhaps
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
