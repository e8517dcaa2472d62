"""Processes that decode pictures for whoever answers: one that costs too much costs its process."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from mmap import mmap
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.reduction import recv_handle, send_handle
from multiprocessing.resource_tracker import ensure_running as ensure_tracker
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from time import monotonic

import numpy as np

from pawprint.answers.orders import Decoded, DecodingLimits, Order, decode_order
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.runner.limits import (
    CPU_SIGNAL,
    give_back_large_blocks,
    leave_no_core,
    private_bytes,
)
from pawprint.runner.processes import interrupts_held_back

STUCK_S = 1.0  # at one picture: longer than anybody should wait
_END_S = 5.0
_LEFT_OVER_BYTES = 2**24  # that memory may have grown by, as it does by large pictures
_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
# Imported once, by the process of which all others are copies
_PRELOADED = [__name__, *(f"PIL.{name}ImagePlugin" for name in _PLUGINS), "pi_heif"]
_starting = Lock()  # or two threads ask how a process ended, and only one of them is told


class Decoder:
    """A process that decodes one picture at a time, for whoever waits for it.

    A file goes there, and its pixels come back, in memory that both processes share; all else goes
    through a pipe, which it never fills. So whoever hands on a picture does not wait.

    Args:
        limits: of a picture.
        size_px: side of the largest result.

    Raises:
        OSError: no process can be started, or there is no memory to share with it.
    """

    def __init__(self, limits: DecodingLimits, size_px: int) -> None:
        context = _context()
        self._limits, self._order = limits, Order(b"", 0, 0, 0)
        self._is_over = False
        self._connection, end = context.Pipe()
        self._process = context.Process(target=_work, args=(end, limits), daemon=True)
        try:
            with _starting, interrupts_held_back():
                self._process.start()
        except EOFError:  # the process of which it would have been a copy has ended
            raise BlockingIOError(errno.EAGAIN, "no process can be started to decode") from None
        end.close()
        number = _open_shared()
        try:
            os.ftruncate(number, 3 * size_px * size_px)
            self._pixels = _map_shared(number)
            send_handle(self._connection, number, self._process.pid)
        except OSError:
            self.end()
            raise
        finally:
            os.close(number)

    @property
    def ended(self) -> bool:
        """Whether the process is at an end, or about to be; asked of one that does nothing.

        It met a limit, was left with too much memory, or was killed.
        """
        return self._is_over or self._connection.poll()

    def fileno(self) -> int:
        """What becomes readable when the picture is done, or the process has ended."""
        return self._connection.fileno()

    def begin(self, order: Order) -> None:
        """Hand on a picture, which then is to be waited for, also where the process has ended.

        Raises:
            OSError: there is no room for the file; nothing was handed on.
        """
        self._order = replace(order, content=b"")
        if isinstance(order.content, Path):
            with suppress(OSError):  # of a process that has ended
                self._connection.send(order)
            return
        number = _open_shared()
        try:
            with open(number, "wb", closefd=False) as file:
                file.write(order.content)
            with suppress(OSError):
                self._connection.send(self._order)
                send_handle(self._connection, number, self._process.pid)
        finally:
            os.close(number)

    def wait(self) -> bool:
        """Whether there is something to receive within the time that a picture may take."""
        return self._connection.poll(self._limits.wall_s)

    def receive(self) -> Decoded | None:
        """What became of the picture; None if the process has ended. To be called once."""
        try:
            error, pixels, cpu_s, self._is_over = self._connection.recv()
        except (EOFError, OSError):
            return None
        if error is not None:
            return Decoded(error, pixels, cpu_s)
        shape = (self._order.size_px, self._order.size_px, 3)
        result = self._pixels[: math.prod(shape)].reshape(shape).copy()
        return Decoded(result, pixels, cpu_s)

    def refuse(self, late: bool) -> Decoded:
        """End the process in the middle of its picture, or after its own end, and say why.

        Args:
            late: whether it took too long; it has ended by itself otherwise.
        """
        exit_code = self.end(0 if late else _END_S)
        if late:
            reason = f"takes more than {self._limits.wall_s:g} s to decode"
        else:
            reason = self._tell(exit_code)
        pixels = self._order.pixels_left or 0  # nobody knows how many it had
        return Decoded(ImageError(reason, ImageFault.COSTLY), pixels, self._limits.cpu_s)

    def kill(self) -> None:
        """End the process while somebody waits for it."""
        self._process.kill()

    def end(self, patience_s: float = 0) -> int | None:
        """End the process, unless it ends by itself soon; its exit code."""
        self._is_over = True
        self._connection.close()
        if not wait([self._process.sentinel], patience_s):
            self._process.kill()
            wait([self._process.sentinel])
        with _starting:  # which asks after all others
            self._process.join()
        return self._process.exitcode

    def _tell(self, exit_code: int | None) -> str:
        if exit_code == -CPU_SIGNAL:
            if self._order.cpu_left_s < self._limits.cpu_s:
                return "takes more processor time than is left for its request"
            return f"takes more than {self._limits.cpu_s:g} s of processor time to decode"
        return f"ended the process that decoded it (exit code {exit_code})"


class Decoders:
    """Some decoders, for any thread.

    Args:
        count: of them, which start at once.
        limits: of a picture. A process that meets one is ended, and another takes its place.
        size_px: side of the largest result.
    """

    def __init__(self, count: int, limits: DecodingLimits, size_px: int) -> None:
        self.count = count
        self.limits = limits
        self._size_px = size_px
        self._begun: dict[Decoder, float] = {}  # those at work, and since when
        self._idle: LifoQueue[Decoder] = LifoQueue()  # the last one's memory is still warm
        for _ in range(count):
            self._idle.put(Decoder(limits, size_px))

    @property
    def busy(self) -> int:
        """Processes at work."""
        return len(self._begun)

    @property
    def stuck(self) -> bool:
        """Whether every process is at a picture that takes long."""
        begun = list(self._begun.values())
        return len(begun) == self.count and monotonic() - max(begun) > STUCK_S

    def decode(self, order: Order) -> Decoded:
        """Have a picture decoded; waits for an idle process, and for the result.

        Raises:
            OSError: no process can be started in the place of one that was ended.
        """
        decoder = self.take()
        try:
            if decoder.ended:
                decoder = self.renew(decoder)
            decoder.begin(order)
            decoded = decoder.receive() if (ready := decoder.wait()) else None
            return decoded or decoder.refuse(late=not ready)
        finally:
            self.give_back(decoder)

    def take(self) -> Decoder:
        """Wait for an idle decoder; whoever has it must give it back, or what it was renewed to."""
        decoder = self._idle.get()
        self._begun[decoder] = monotonic()
        return decoder

    def renew(self, ended: Decoder) -> Decoder:
        """Start a process in the place of one that has ended, and was taken.

        Raises:
            OSError: it cannot be started; the old one stays taken.
        """
        ended.end(_END_S)
        decoder = Decoder(self.limits, self._size_px)
        del self._begun[ended]
        self._begun[decoder] = monotonic()
        return decoder

    def give_back(self, decoder: Decoder) -> None:
        """Let others have a decoder."""
        self._begun.pop(decoder, None)
        self._idle.put(decoder)

    def close(self) -> None:
        """End all processes, also in the middle of a picture, which is then refused."""
        for decoder in list(self._begun):
            decoder.kill()
        for _ in range(self.count):
            self._idle.get().end()


@contextmanager
def open_decoders(count: int, limits: DecodingLimits, size_px: int) -> Iterator[Decoders]:
    """Decoders for the time of a block, whose processes end with it."""
    decoders = Decoders(count, limits, size_px)
    try:
        yield decoders
    finally:
        decoders.close()


def prepare_decoders() -> None:
    """Begin to import what decoders need, in the process of which they will be copies."""
    _context()
    with interrupts_held_back():
        ensure_running()


def _context() -> ForkServerContext:
    ensure_tracker()  # which lets interrupts in again that were held back: see interrupts_held_back
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _open_shared() -> int:
    """The number of an open file that is nothing but memory, where the system has such."""
    if sys.platform == "linux":
        return os.memfd_create("pawprint")
    number, name = tempfile.mkstemp()
    os.unlink(name)
    return number


def _read_shared(number: int) -> bytes:
    """The bytes of an open file, which is closed."""
    with open(number, "rb") as file:
        file.seek(0)
        return file.read()


def _map_shared(number: int) -> np.ndarray:
    """An open file as an array, uint8 [size of the file], shared with whoever maps it, too."""
    return np.frombuffer(mmap(number, 0), np.uint8)


def _work(connection: Connection, limits: DecodingLimits) -> None:
    """Decode what is asked for until nobody asks any more, or too much memory is left over."""
    leave_no_core()
    give_back_large_blocks()
    try:
        number = recv_handle(connection)
    except EOFError:
        return
    pixels = _map_shared(number)
    os.close(number)
    most_bytes = private_bytes() + _LEFT_OVER_BYTES
    leaves = False
    while not leaves:
        try:
            order: Order = connection.recv()
            if not isinstance(order.content, Path):
                order = replace(order, content=_read_shared(recv_handle(connection)))
        except EOFError:
            return
        decoded = decode_order(order, limits)
        del order
        error = None
        if isinstance(decoded.result, np.ndarray):
            pixels[: decoded.result.size] = decoded.result.reshape(-1)
        else:
            error = decoded.result
        leaves = private_bytes() > most_bytes
        connection.send((error, decoded.pixels, decoded.cpu_s, leaves))
