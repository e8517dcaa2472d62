"""Pools of worker processes that use every core, and processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
WATCH_EVERY_S = 0.2


@contextmanager
def worker_pool(*modules: str) -> Iterator[ProcessPoolExecutor]:
    """A pool with a process for each core, which start at once.

    Spawned, not forked: a fork copies the locks of threads that it does not copy. Ctrl-C and
    SIGTERM end the workers at once; any other error lets them finish what they have begun.

    Args:
        modules: what the processes import, while the caller does something else.
    """
    context = multiprocessing.get_context("spawn")
    cores = available_cores()
    with ProcessPoolExecutor(cores, context, _start_worker, modules) as pool:
        try:
            with _interrupts_held_back():
                for _ in range(cores):  # each starts one: see tests/test_private_sides.py
                    pool.submit(int)
            yield pool
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all, from processes that are started meanwhile.

    They inherit it for good: their parent ends them, and they have nothing to say.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(*modules: str) -> None:
    """End a worker when its parent is killed; it would otherwise wait for work for ever."""
    _ask_kernel()

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
    for module in modules:
        importlib.import_module(module)


def end_with_dvc() -> None:
    """End this process, a stage, as soon as the DVC that started it is gone, even by SIGKILL.

    An orphan would go on writing into what the next run makes. Without DVC nothing is done: a
    stage that was started by hand may outlive its terminal. How DVC starts a stage is not promised:
    see tests/test_private_sides.py.
    """
    if "DVC_STAGE" not in os.environ:
        return
    before = _ancestors()
    told = _ask_kernel()
    if _is_orphan():
        _end()
    if told and len(before) == 1:
        return

    def watch() -> None:
        while _ancestors() == before:
            time.sleep(WATCH_EVERY_S)
        _end()

    Thread(target=watch, daemon=True).start()


def _ask_kernel() -> bool:
    """Have this process killed when its parent dies; only Linux offers that.

    Python has no function for it: see tests/test_private_sides.py.
    """
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    except (AttributeError, OSError, TypeError):
        return False


def _ancestors() -> list[int]:
    """The parent's id, and its parent's too if it is the shell that DVC runs commands by.

    Most shells replace themselves by the command, but not all; that shell outlives DVC.
    """
    parent = os.getppid()
    try:
        arguments = Path(f"/proc/{parent}/cmdline").read_bytes().decode().split("\0")[:-1]
        status = Path(f"/proc/{parent}/status").read_text()
    except (OSError, UnicodeDecodeError):
        return [parent]
    command = " ".join(sys.orig_argv[1:])
    if arguments[-2:-1] == ["-c"] and arguments[-1].endswith(command):
        return [parent, int(status.split("PPid:")[1].split()[0])]
    return [parent]


def _is_orphan() -> bool:
    """Whether DVC died before this process could ask the kernel: another session adopted it."""
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except OSError:
        return False


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
