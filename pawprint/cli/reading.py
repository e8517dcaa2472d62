"""Decodes the pictures that a command was given, some ahead of those that a model looks at."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawprint.answers.decoders import Decoders
from pawprint.answers.orders import Order, read_picture
from pawprint.inference.classifier import LIMIT_OF_MODEL, ModelCard
from pawprint.pictures.costs import check_file_size, most_file_bytes
from pawprint.runner.errors import ImageError

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A picture to read, or why there is none.

    Attributes:
        path: of the picture, as it was given; ``-`` is standard input.
        error: empty for a picture.
    """

    path: str
    error: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads pictures as a model sees them.

    Attributes:
        decoders: at least one.
        card: of the model.
        max_pixels: of a picture, if the card does not allow fewer.
    """

    decoders: Decoders
    card: ModelCard
    max_pixels: int

    def read_ahead(
        self, sources: Iterable[Source], ahead: int
    ) -> Iterator[tuple[Source, np.ndarray | str]]:
        """Each source with uint8 [size, size, 3] in 0...255, or with the reason why it has none.

        Args:
            sources: in this order.
            ahead: how many may be read before they are asked for.
        """
        pool = ThreadPoolExecutor(self.decoders.count)
        pending: deque[tuple[Source, Future[np.ndarray | str]]] = deque()
        try:
            for source in sources:
                # In no thread, for Ctrl-C
                stdin = _read_stdin(self._most_pixels) if source.path == STDIN else None
                pending.append((source, pool.submit(self._read, source, stdin)))
                if len(pending) > ahead:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, source: Source, content: bytes | None) -> np.ndarray | str:
        if source.error:
            return source.error
        try:
            check_file_size(len(content or b""), self._most_pixels)
        except ImageError as error:
            return error.reason()
        return self.decode(Path(source.path) if content is None else content)

    def decode(self, file: Path | bytes) -> np.ndarray | str:
        """A file, or its bytes → uint8 [size, size, 3] in 0...255, or why there are none."""
        size, white, resize = self.card.image_size, self.card.max_value, self.card.resize
        order = Order(file, size, self._most_pixels, white, resize=resize)
        result = self.decoders.decode(order).result
        if isinstance(result, ImageError):
            return result.reason(_limit_name(self.card, self.max_pixels))
        return describe(result) if isinstance(result, OSError) else result

    @property
    def _most_pixels(self) -> int:
        return min(self.max_pixels, self.card.max_pixels)


def read_file(source: Source, card: ModelCard, max_pixels: int) -> bytes | str:
    """The bytes of a picture, to be decoded elsewhere, or the reason why there are none.

    Args:
        source: of the picture.
        card: of the model.
        max_pixels: as of a ``Reader``.
    """
    if source.error:
        return source.error
    most = min(max_pixels, card.max_pixels)
    try:
        if source.path != STDIN:
            return read_picture(Path(source.path), most)
        content = _read_stdin(most)
        check_file_size(len(content), most)
    except ImageError as error:
        return error.reason(_limit_name(card, max_pixels))
    except OSError as error:
        return describe(error)
    return content


def _read_stdin(most_pixels: int) -> bytes:
    most = most_file_bytes(most_pixels) + 1  # with which it is refused
    return sys.stdin.buffer.read(most) if sys.stdin else b""


def _limit_name(card: ModelCard, max_pixels: int) -> str:
    return "--max-pixels" if max_pixels < card.max_pixels else LIMIT_OF_MODEL


def describe(error: OSError) -> str:
    """Why a file cannot be read, in a few words."""
    return (error.strerror or str(error)).lower()
