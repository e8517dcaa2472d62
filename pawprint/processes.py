"""Pools of worker processes that use every core and never outlive their parent."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from threading import Thread


def worker_pool() -> ProcessPoolExecutor:
    """A pool with a process for each core; use it in a ``with`` block.

    Spawned, not forked: a fork copies the locks of threads that it does not copy.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(os.cpu_count() or 1, context, initializer=_die_with_parent)


def _die_with_parent() -> None:
    """End a worker when its parent is killed; it would otherwise wait for work for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
