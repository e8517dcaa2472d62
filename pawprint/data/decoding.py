"""How stages read the pictures of an archive: one that costs too much stops the run with its name.

What a picture is set aside for follows from its file alone: otherwise a slow machine would set
aside others, and give other bytes. Clock and memory limit are for what headers do not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pawprint.data.manifest import kept_archive
from pawprint.pictures.costs import check_file_size
from pawprint.runner.errors import ImageError
from pawprint.runner.journal import ShardTask
from pawprint.runner.limits import limited_memory
from pawprint.runner.processes import contained

CPU_S = 120.0  # a picture of 100 megapixels takes some seconds
_BYTES_PER_PIXEL = 40  # WebP takes 16 and its file may have 8


@dataclass(frozen=True)
class Pictures:
    """Pictures of an archive, by their names."""

    _bytes: Callable[[str], int]
    _content: Callable[[str], bytes]
    _max_pixels: int

    @contextmanager
    def read(self, name: str) -> Iterator[bytes]:
        """A picture's file, to be decoded in the block.

        Raises:
            ImageError: it is larger than any picture of ``max_pixels``.
            PawprintError: decoding it took more memory than any picture should.
        """
        check_file_size(self._bytes(name), self._max_pixels)
        with contained(name, CPU_S):
            yield self._content(name)


@contextmanager
def open_pictures(archive: Path, max_pixels: int) -> Iterator[Pictures]:
    """Open the canonical archive in a worker process.

    Args:
        archive: its path.
        max_pixels: of a picture; the memory that this process may take follows from it.

    Raises:
        DataError: see ``pawprint.data.manifest.kept_archive``.
    """
    with kept_archive(archive) as opened, _limited(max_pixels):
        yield Pictures(lambda name: opened.getinfo(name).file_size, opened.read, max_pixels)


# Of pictures that travel, their bytes; of one that is larger than any may be, how many these are
Files = Mapping[str, bytes | int]


def task_of_pictures(
    read_old: Callable[[Any], Any],
    order: Callable[[Any, Any], Any],
    work: Callable[[Pictures, Any], Any],
    write: Callable[[Any, Any, Any], Any],
    count: Callable[[Any], int],
) -> ShardTask:
    """How a shard of an archive's pictures is worked on where there is no archive.

    Args:
        read_old: a shard, which has an ``archive`` → what the last version has of it.
        order: the shard and that → what is to be done: its ``names`` are those of the pictures,
            its ``max_pixels`` those of ``open_pictures``.
        work: the pictures and the order → the answer. A module's function.
        write: see ``ShardTask``; what was kept is what ``read_old`` returned.
        count: see ``ShardTask``.
    """

    def read(shard: Any) -> tuple[Any, Any]:
        old = read_old(shard)
        wanted = order(shard, old)
        return (wanted, _read_files(shard.archive, wanted.names, wanted.max_pixels)), old

    return ShardTask(read, partial(_work_on_sent, work), write, count)


def _read_files(archive: Path, names: Iterable[str], max_pixels: int) -> Files:
    found: dict[str, bytes | int] = {}
    with kept_archive(archive) as opened:
        for name in names:
            size = opened.getinfo(name).file_size
            try:
                check_file_size(size, max_pixels)
                found[name] = opened.read(name)
            except ImageError:
                found[name] = size
    return found


def _work_on_sent(
    work: Callable[[Pictures, Any], Any], sent: tuple[Any, Files], _: None = None
) -> Any:
    """The same as with ``open_pictures``, of what ``_read_files`` has read."""
    order, files = sent

    def size(name: str) -> int:
        content = files[name]
        return content if isinstance(content, int) else len(content)

    def content(name: str) -> bytes:
        found = files[name]
        assert isinstance(found, bytes)  # or its size would have been refused
        return found

    with _limited(order.max_pixels):
        return work(Pictures(size, content, order.max_pixels), order)


def _limited(max_pixels: int) -> AbstractContextManager[None]:
    return limited_memory(2**29 + _BYTES_PER_PIXEL * max_pixels)
