"""Processes that decode pictures for whoever answers: one that costs too much costs its process."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from queue import LifoQueue
from time import monotonic, process_time

import numpy as np

from pawprint.pictures.costs import check_file_size
from pawprint.pictures.images import PixelBudget, decode_image
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.runner.limits import (
    CPU_SIGNAL,
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
_LEFT_OVER_BYTES = 2**26  # that memory may have grown by, as it does by large pictures
_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
# Imported once, by the process of which all others are copies
_PRELOADED = [__name__, *(f"PIL.{name}ImagePlugin" for name in _PLUGINS), "pi_heif"]


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


class Decoders:
    """Decodes pictures in processes of its own, from any thread.

    Args:
        count: of processes, which start at once.
        limits: of a picture. A process that meets one is ended, and another takes its place.
    """

    def __init__(self, count: int, limits: DecodingLimits) -> None:
        self.count = count
        self._limits = limits
        self._begun: dict[_Worker, float] = {}  # those at work, and since when
        self._idle: LifoQueue[_Worker] = LifoQueue()  # the last one's memory is still warm
        for _ in range(count):
            self._idle.put(_Worker(limits))

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
        worker = self._idle.get()
        try:
            if worker.ended:
                worker = _Worker(self._limits)
            self._begun[worker] = monotonic()
            return worker.ask(order)
        finally:
            self._begun.pop(worker, None)
            self._idle.put(worker)

    def close(self) -> None:
        """End all processes, also in the middle of a picture, which is then refused."""
        for worker in list(self._begun):
            worker.kill()
        for _ in range(self.count):
            self._idle.get().end()


@contextmanager
def open_decoders(count: int, limits: DecodingLimits) -> Iterator[Decoders]:
    """Decoders for the time of a block, whose processes end with it."""
    decoders = Decoders(count, limits)
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


class _Worker:
    """A process, and the connection to it."""

    def __init__(self, limits: DecodingLimits) -> None:
        context = _context()
        self.ended = False
        self._limits = limits
        self._connection, end = context.Pipe()
        self._process = context.Process(target=_work, args=(end, limits), daemon=True)
        with interrupts_held_back():
            self._process.start()
        end.close()

    def ask(self, order: Order) -> Decoded:
        """Hand on an order, and wait for what becomes of it.

        The process has ``ended`` then if it met a limit, or was left with too much memory.
        """
        try:
            self._connection.send(order)
            if self._connection.poll(self._limits.wall_s):
                decoded: Decoded
                decoded, leaves = self._connection.recv()
                if leaves:
                    self.end(_END_S)
                return decoded
            reason = f"takes more than {self._limits.wall_s:g} s to decode"
            self.end()
        except (EOFError, OSError):
            reason = self._tell(self.end(_END_S), order)
        pixels = order.pixels_left or 0  # nobody knows how many it had
        return Decoded(ImageError(reason, ImageFault.COSTLY), pixels, self._limits.cpu_s)

    def kill(self) -> None:
        """End the process while another thread waits for it."""
        self._process.kill()

    def end(self, patience_s: float = 0) -> int | None:
        """End the process, unless it ends by itself soon; its exit code."""
        self.ended = True
        self._connection.close()
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()
        return self._process.exitcode

    def _tell(self, exit_code: int | None, order: Order) -> str:
        if exit_code == -CPU_SIGNAL:
            if order.cpu_left_s < self._limits.cpu_s:
                return "takes more processor time than is left for its request"
            return f"takes more than {self._limits.cpu_s:g} s of processor time to decode"
        return f"ended the process that decoded it (exit code {exit_code})"


def _work(connection: Connection, limits: DecodingLimits) -> None:
    """Decode what is asked for until nobody asks any more, or too much memory is left over."""
    leave_no_core()
    most_bytes = private_bytes() + _LEFT_OVER_BYTES
    leaves = False
    while not leaves:
        try:
            order: Order = connection.recv()
        except EOFError:
            return
        decoded = decode_order(order, limits)
        del order
        leaves = private_bytes() > most_bytes
        connection.send((decoded, leaves))


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
