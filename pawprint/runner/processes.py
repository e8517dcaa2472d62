"""Pools of worker processes that use every core, and processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running as ensure_tracker
from pathlib import Path
from threading import Thread

from pawprint.runner.errors import PawprintError, WorkerKilled
from pawprint.runner.limits import CPU_SIGNAL, WorkNote, leave_no_core, limited_cpu, read_note

PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
# Set for stages that a task of a cluster runs, to how many cores it has: their work stays there
ON_CLUSTER = "PAWPRINT_ON_CLUSTER"
WATCH_EVERY_S = 0.2
_BEYOND = "than any picture should: remove it, or lower preprocess.max_pixels"


@contextmanager
def worker_pool(
    title: str, *modules: str, count: int | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool with a process for each core, which start at once.

    Spawned, not forked: a fork copies the locks of threads that it does not copy. Ctrl-C and
    SIGTERM end the workers at once; any other error lets them finish what they have begun.

    Args:
        title: of the work, for the message.
        modules: what the processes import, while the caller does something else.
        count: of processes, if not one for each core.

    Raises:
        PawprintError: a process was ended from outside, or by a limit; it says at what work.
    """
    context = multiprocessing.get_context("spawn")
    count = count or available_cores()
    before = set(multiprocessing.active_children())
    workers: set[BaseProcess] = set()
    with tempfile.TemporaryDirectory(prefix="pawprint-") as notes:
        try:
            arguments = (notes, modules)
            with ProcessPoolExecutor(count, context, _start_worker, arguments) as pool:
                try:
                    with interrupts_held_back():
                        for _ in range(count):  # each starts one: see tests/test_private_sides.py
                            pool.submit(int)
                    workers.update(set(multiprocessing.active_children()) - before)
                    yield pool
                except KeyboardInterrupt:
                    for worker in multiprocessing.active_children():
                        worker.kill()
                    raise
        except BrokenExecutor as error:
            raise _explain_end(title, workers, Path(notes)) from error


def _explain_end(title: str, workers: Iterable[BaseProcess], notes: Path) -> PawprintError:
    """What ended a pool, and at what work; the pool itself ends the other workers by SIGTERM."""
    for worker in workers:
        name, code = read_note(notes / str(worker.pid)), worker.exitcode
        if not name or code in (None, 0, -signal.SIGTERM):
            continue
        if code == -CPU_SIGNAL:
            return PawprintError(f"{title}: {name} took more processor time {_BEYOND}")
        if code != -signal.SIGKILL:
            found = f"{name} ended its process (exit code {code})"
            return PawprintError(f"{title}: {found}: remove it")
        return WorkerKilled(title, name)
    return WorkerKilled(title, "")


_note: WorkNote | None = None  # of this process, if it is a worker


@contextmanager
def contained(name: str, cpu_s: float) -> Iterator[None]:
    """Work on a picture, which may be made to cost too much, in a worker process.

    Args:
        name: of the picture.
        cpu_s: seconds of processor time after which the process ends, and with it the pool.

    Raises:
        PawprintError: the limit of memory was met; it names the picture.
    """
    if _note is not None:
        _note.write(name)
    try:
        with limited_cpu(cpu_s):
            yield
    except MemoryError:
        raise PawprintError(f"{name} took more memory {_BEYOND}") from None


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Keep Ctrl-C, which a terminal sends to all, from processes that are started meanwhile.

    They inherit it for good: their parent ends them, and they have nothing to say.
    """
    ensure_tracker()  # its start lets interrupts in again
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    # Another thread may take the signal, and Python then interrupts the main one all the same
    handler = (
        signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main else None
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def available_cores() -> int:
    """Cores that this process may use."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(cores, int(os.environ.get(ON_CLUSTER, cores)))


def _start_worker(notes: str, modules: Iterable[str]) -> None:
    """End a worker when its parent is killed; it would otherwise wait for work for ever."""
    global _note
    _ask_kernel()
    leave_no_core()
    _note = WorkNote(Path(notes, str(os.getpid())))

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


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; for a child, before its command."""
    _ask_kernel()


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
