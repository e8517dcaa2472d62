"""A picture to decode in a process that may end of it, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np

from pawprint.pictures.costs import check_file_size
from pawprint.pictures.images import PixelBudget, decode_image
from pawprint.registry.resizing import STRETCH, Resize
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.runner.limits import limited_cpu, limited_memory

ANSWERED_PIXELS = 50_000_000  # of a picture that comes from anywhere
PICTURE_CPU_S = 1.8  # seconds of processor time that these pixels take at most in most formats
PICTURE_BYTES = 400_000_000
_CHUNK_BYTES = 2**20


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
    resize: Resize = STRETCH


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
                content = read_picture(content, order.max_pixels)
            result = decode_image(
                content,
                order.size_px,
                order.max_pixels,
                order.max_value,
                budget,
                limits.memory_bytes - len(content),
                order.resize,
            )
    except (ImageError, OSError) as error:
        result = error
    except MemoryError:
        megabytes = limits.memory_bytes // 1_000_000
        result = ImageError(f"takes more than {megabytes} MB to decode", ImageFault.COSTLY)
    taken = 0 if budget is None else (order.pixels_left or 0) - budget.left
    return Decoded(result, taken, process_time() - began)


def read_picture(path: Path, max_pixels: int) -> bytes:
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
