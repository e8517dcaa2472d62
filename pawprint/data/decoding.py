"""How stages read the pictures of an archive: one that costs too much stops the run with its name.

What a picture is set aside for follows from its file alone: otherwise a slow machine would set
aside others, and give other bytes. Clock and memory limit are for what headers do not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from pawprint.data.manifest import open_archive
from pawprint.pictures.costs import check_file_size
from pawprint.runner.limits import limited_memory
from pawprint.runner.processes import contained

CPU_S = 120.0  # a picture of 100 megapixels takes some seconds
_BYTES_PER_PIXEL = 40  # WebP takes 16 and its file may have 8


@dataclass(frozen=True)
class Pictures:
    """Pictures of an archive that is open."""

    _archive: ZipFile
    _max_pixels: int

    @contextmanager
    def read(self, name: str) -> Iterator[bytes]:
        """A picture's file, to be decoded in the block.

        Raises:
            ImageError: it is larger than any picture of ``max_pixels``.
            PawprintError: decoding it took more memory than any picture should.
        """
        check_file_size(self._archive.getinfo(name).file_size, self._max_pixels)
        with contained(name, CPU_S):
            yield self._archive.read(name)


@contextmanager
def open_pictures(archive: Path, max_pixels: int) -> Iterator[Pictures]:
    """Open the canonical archive in a worker process.

    Args:
        archive: its path.
        max_pixels: of a picture; the memory that this process may take follows from it.

    Raises:
        DataError: see ``pawprint.data.manifest.open_archive``.
    """
    with (
        open_archive(archive) as opened,
        limited_memory(2**29 + _BYTES_PER_PIXEL * max_pixels),
    ):
        yield Pictures(opened, max_pixels)
