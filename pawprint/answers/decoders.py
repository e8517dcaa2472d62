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
from dataclasses import dataclass, replace
from mmap import mmap
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.reduction import recv_handle, send_handle
from multiprocessing.resource_tracker import ensure_running as ensure_tracker
from pathlib import Path
from queue import LifoQueue
from threading import Lock
from time import monotonic, process_time

import numpy as np

from pawprint.pictures.costs import check_file_size
from pawprint.pictures.images import PixelBudget, decode_image
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.runner.limits import (
    CPU_SIGNAL,
    give_back_large_blocks,
    leave_no_core,
    limited_cpu,
    limited_memory,
    private_bytes,
)
from pawprint.runner.processes import interrupts_held_back

ANSWERED_PIXELS = 50_000_000  # of a picture that comes from anywhere
PICTURE_CPU_S = 1.8  # seconds of processor time that these pixels take at most in most formats
PICTURE_BYTES = 400_000_000
STUCK_S = 1.0  # at one picture: longer than anybody should wait
_END_S = 5.0
_CHUNK_BYTES = 2**20
_LEFT_OVER_BYTES = 2**24  # that memory may have grown by, as it does by large pictures
_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
# Imported once, by the process of which all others are copies
_PRELOADED = [__name__, *(f"PIL.{name}ImagePlugin" for name in _PLUGINS), "pi_heif"]
_starting = Lock()  # or two threads ask how a process ended, and only one of them is told


@dataclass(frozen=True)
class DecodingLimits:
    """What decoding one picture may take.

    Attributes:
        cpu_s: seconds of processor time.
        wall_s: seconds that pass, for where others have the processor.
        memory_bytes: beyond what an idle process has; the file is counted.
    """

    cpu_s: float = PICTURE_CPU_S
    wall_s: float = 10.0
    memory_bytes: int = PICTURE_BYTES

    @classmethod
    def of_pixels(cls, max_pixels: int) -> DecodingLimits:
        """What whoever allows more pixels than ``ANSWERED_PIXELS`` allows for these."""
        times = max(1.0, max_pixels / ANSWERED_PIXELS)
        return cls(PICTURE_CPU_S * times, 10 * times, int(PICTURE_BYTES * times))


@dataclass(frozen=True)
class Order:
    """A picture to decode, see ``pawprint.pictures.images.decode_image``.

    Attributes:
        content: the file's bytes, or its path.
        pixels_left: for a ``PixelBudget``.
        cpu_left_s: processor time that is left, if that is less than a picture may take.
    """

    content: bytes | Path
    size_px: int
    max_pixels: int
    max_value: int
    pixels_left: int | None = None
    cpu_left_s: float = math.inf


@dataclass(frozen=True)
class Decoded:
    """What became of an order.

    Attributes:
        result: uint8 [size_px, size_px, 3], RGB in 0...255, or why there is none: an ImageError,
            or an OSError where the path cannot be read.
        pixels: taken from the budget.
        cpu_s: processor time that it took.
    """

    result: np.ndarray | ImageError | OSError
    pixels: int = 0
    cpu_s: float = 0.0


class Decoder:
    """A process that decodes one picture at a time, for whoever waits for it.

    A file goes there, and its pixels come back, in memory that both processes share; all else goes
    through a pipe, which it never fills. So whoever hands on a picture does not wait.

    Args:
        limits: of a picture.
        size_px: side of the largest result.

    Raises:
        OSError: no process can be started.
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
        os.ftruncate(number, 3 * size_px * size_px)
        self._pixels = _map_shared(number)
        self._hand_on(number)

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
        """Hand on a picture, which then is to be waited for, also where the process has ended."""
        self._order = replace(order, content=b"")
        with suppress(OSError):
            if isinstance(order.content, Path):
                self._connection.send(order)
                return
            number = _open_shared()
            with open(number, "wb", closefd=False) as file:
                file.write(order.content)
            self._connection.send(self._order)
            self._hand_on(number)

    def _hand_on(self, number: int) -> None:
        """Let the process have an open file, which is closed here."""
        try:
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


def decode_order(order: Order, limits: DecodingLimits) -> Decoded:
    """Decode a picture in this process, which ends if that takes too much processor time.

    Args:
        order: the picture.
        limits: time that passes is not for this function to limit.
    """
    budget = None if order.pixels_left is None else PixelBudget(order.pixels_left)
    result: np.ndarray | ImageError | OSError
    began, most_s = process_time(), min(limits.cpu_s, order.cpu_left_s)
    try:
        content = order.content
        left = limits.memory_bytes - (len(content) if isinstance(content, bytes) else 0)
        with limited_memory(left), limited_cpu(most_s):
            if isinstance(content, Path):
                content = _read(content, order.max_pixels)
            result = decode_image(
                content,
                order.size_px,
                order.max_pixels,
                order.max_value,
                budget,
                limits.memory_bytes - len(content),
            )
    except (ImageError, OSError) as error:
        result = error
    except MemoryError:
        megabytes = limits.memory_bytes // 1_000_000
        result = ImageError(f"takes more than {megabytes} MB to decode", ImageFault.COSTLY)
    taken = 0 if budget is None else (order.pixels_left or 0) - budget.left
    return Decoded(result, taken, process_time() - began)


def _read(path: Path, max_pixels: int) -> bytes:
    """A file; some have no size, and no end.

    Raises:
        ImageError: it is too large.
        OSError: it cannot be read.
    """
    content = bytearray()
    with path.open("rb") as file:
        check_file_size(path.stat().st_size, max_pixels)
        while chunk := file.read(_CHUNK_BYTES):
            content += chunk
            check_file_size(len(content), max_pixels)
    return bytes(content)
