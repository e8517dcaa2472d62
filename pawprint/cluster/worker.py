"""What a process of the cluster does: it opens a tool once, and works on what it is sent."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pawprint.cluster.machines import Machine, this_machine
from pawprint.runner.limits import keep_large_blocks, leave_no_core
from pawprint.runner.processes import worker_pool

PICKLE = pickle.HIGHEST_PROTOCOL


class Reply(NamedTuple):
    """What became of an order.

    Attributes:
        content: the pickled answer.
        machine: that made it.
        seconds: at work, the opening of the tool included.
    """

    content: bytes
    machine: Machine
    seconds: float


def pack_tool(files: tuple[Path, ...], opener: Callable[[Path], Any]) -> bytes:
    return pickle.dumps((opener, {file.name: file.read_bytes() for file in files}), PICKLE)


def work_on(order: bytes, digest: str, fetch: Callable[[], bytes]) -> Reply:
    """Work on one order.

    Args:
        order: pickled: the function of an ``ShardTask``, and what was read for it.
        digest: of the tool; empty if none is needed.
        fetch: gets what ``pack_tool`` returned; called where this process has not opened it.
    """
    leave_no_core()
    keep_large_blocks()
    start = time.monotonic()
    work, sent = pickle.loads(order)
    answer = work(sent, _open_tool(digest, fetch) if digest else None)
    content = pickle.dumps(answer, PICKLE)
    return Reply(content, this_machine(), time.monotonic() - start)


def work_apart(title: str, order: bytes, digest: str, fetch: Callable[[], bytes]) -> Reply:
    """The same in a process of its own, of an order that has ended the one that worked on it.

    Args:
        title: of the work.
        order, digest, fetch: see ``work_on``.

    Raises:
        PawprintError: it has ended that process, too; see ``worker_pool``.
    """
    tool = partial(bytes, fetch() if digest else b"")
    with worker_pool(title, count=1) as pool:
        return pool.submit(work_on, order, digest, tool).result()


_opened: dict[str, Any] = {}  # the last tool that was needed, by its digest


def _open_tool(digest: str, fetch: Callable[[], bytes]) -> Any:
    if digest not in _opened:
        _opened.clear()
        opener, files = pickle.loads(fetch())
        with tempfile.TemporaryDirectory(prefix="pawprint-") as directory:
            for name, content in files.items():
                Path(directory, name).write_bytes(content)
            _opened[digest] = opener(Path(directory))
    return _opened[digest]
