"""The files of a source, wherever they lie, and what goes wrong when they are read."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

from pawprint.runner.errors import SourceError

DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError),
    *(tarfile.TarError, LZMAError),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a source, in as little memory as may be: there can be millions.

    Attributes:
        name: relative path, with the source's own spelling.
        size: in bytes, as the source states it.
        packed: the bytes that it takes within its zip; 0: it is not packed.
        opener: opens any file of the source.
        place: what `opener` needs to find it.
    """

    name: str
    size: int
    packed: int
    opener: Callable[[Any], IO[bytes]]
    place: Any

    def open(self) -> IO[bytes]:
        """For reading, any number of times, while its source is open."""
        return self.opener(self.place)


@dataclass
class Listing:
    """The files of a source, the number of those left out, by reason, and links among these.

    A link to a folder has the name of something in it: `<link>/*`. Folders are those that the
    source names by themselves, all empty ones among them.
    """

    members: list[Member] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def leave_out_link(self, name: str) -> None:
        self.links.append(name)
        self.ignored["symbolic link"] += 1


@contextmanager
def reading(label: str, what: str = "zip") -> Iterator[None]:
    """Turns the many exceptions of a damaged archive or an unreadable file into one SourceError.

    The error's `__cause__` is one of DAMAGE if the bytes are at fault.
    """
    try:
        yield
    except DAMAGE as error:
        raise _damaged(label, what, error) from error
    except PermissionError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror}") from error
    except OSError as error:
        if error.errno not in (errno.EINVAL, None):
            raise
        outside = error.errno == errno.EINVAL  # gzip and bz2 give no number
        cause = zipfile.BadZipFile("a place outside of the file" if outside else str(error))
        raise _damaged(label, what, cause) from cause


def _damaged(label: str, what: str, error: Exception) -> SourceError:
    reason = "a name that is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return SourceError(
        f"{label} is damaged: expected a whole {what}, found: {reason or type(error).__name__}; "
        "fetch or pack it again"
    )


@contextmanager
def spool_pictures(pictures: Iterator[tuple[str, bytes]], work: Path) -> Iterator[Listing]:
    """Lists pictures that arrive in any order, as (name, bytes), keeping the bytes on disk."""
    work.mkdir(parents=True, exist_ok=True)
    listing = Listing()
    with tempfile.TemporaryFile(dir=work) as spool:
        opener = partial(open_part, spool)
        for name, data in pictures:
            start = spool.seek(0, os.SEEK_END)
            spool.write(data)
            listing.members.append(Member(name, len(data), 0, opener, (start, len(data))))
        yield listing


def open_part(file: IO[bytes], place: tuple[int, int]) -> IO[bytes]:
    """A part by its first byte and its number of bytes."""
    return io.BufferedReader(_FilePart(file, *place))


class _FilePart(io.RawIOBase):
    """A part of a file as a file of its own: many nested zips need one descriptor."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as files do
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        data = self._file.read(min(len(buffer), max(0, self._size - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
