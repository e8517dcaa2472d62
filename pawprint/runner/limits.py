"""Limits that the kernel holds a process to: memory it may add, processor time of a piece of work.

Whoever runs under them must be a process that may end at any moment: `pawprint.runner.processes`
says which piece of work ended a worker, `pawprint.answers.decoders` goes on with another process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CPU_SIGNAL = signal.SIGPROF  # what ends a process whose time is over
_PAGE_BYTES = resource.getpagesize()
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
_LARGE_BLOCK_BYTES = 2**22
_LARGEST_KEPT_BYTES = 2**25  # glibc takes no more than this


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let this process have so many bytes more than it has; beyond them is a MemoryError.

    Only Linux counts what is mapped as well (since 4.7); elsewhere nothing is limited.
    """
    if sys.platform != "linux":
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = private_bytes() + more_bytes
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def private_bytes() -> int:
    """What RLIMIT_DATA counts of this process, and its stack; 0 where nothing is limited.

    Source: proc(5), /proc/pid/statm.
    """
    if sys.platform != "linux":
        return 0
    file = os.open(
        "/proc/self/statm", os.O_RDONLY
    )  # for each picture: pathlib takes three times as long
    try:
        return int(os.read(file, 256).split()[5]) * _PAGE_BYTES
    finally:
        os.close(file)


@contextmanager
def limited_cpu(seconds: float) -> Iterator[None]:
    """Have the kernel end this process when the block has used so much processor time.

    By ``CPU_SIGNAL``, for code that decodes does not return to Python to be asked. All threads
    count.

    Args:
        seconds: more than 0; how finely they are measured is the kernel's affair, about 0.01.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def give_back_large_blocks() -> None:
    """Have large blocks of memory go back to the system as soon as they are free.

    Only glibc keeps them, more of them the larger they are, for each thread that ever had one.
    Python has no function for it: see tests/test_private_sides.py.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        # Else each call above would have what is small go back, too, and be asked for again
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK_BYTES)


def keep_large_blocks() -> None:
    """Have large blocks of memory, of up to 33 MB, stay here for the next one when they are free.

    The kernel clears each new block, which costs more than to copy it: a process that sends or gets
    messages of 10 MB takes half the processor time with this. Of glibc, as the above.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_free_blocks() -> None:
    """Give what is free to the system, also between what is in use: a few milliseconds of work.

    Of glibc, too, and as little known to Python.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def leave_no_core() -> None:
    """Have no file written where this process is ended by a fault."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class WorkNote:
    """A file in which a process says what it is at, for whoever finds it ended.

    Args:
        path: to be written.
    """

    LENGTH = 512  # bytes

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def write(self, text: str) -> None:
        os.pwrite(self._file, text.encode(errors="replace")[: self.LENGTH].ljust(self.LENGTH), 0)


def read_note(path: Path) -> str:
    """What a ``WorkNote`` said last; empty if nothing."""
    try:
        return path.read_bytes().decode(errors="replace").strip()
    except OSError:
        return ""
