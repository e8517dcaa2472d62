"""Pools of worker processes that use every core and never outlive their parent."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from threading import Thread


def worker_pool(module: str = "") -> ProcessPoolExecutor:
    """A pool with a process for each core; use it in a ``with`` block.

    Spawned, not forked: a fork copies the locks of threads that it does not copy.

    Args:
        module: the processes start at once and import this module, while the caller does
            something else; without it they start with the first work.
    """
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    pool = ProcessPoolExecutor(cores, context, initializer=_start_worker, initargs=(module,))
    if module:
        for _ in range(cores):
            pool.submit(int)
    return pool


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(module: str) -> None:
    """End a worker when its parent is killed; it would otherwise wait for work for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
    if module:
        importlib.import_module(module)
