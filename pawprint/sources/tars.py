"""Lists the files of a tar, also of a compressed one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pawprint.registry.file_kinds import HEAD_BYTES, recognize
from pawprint.sources.encodings import decode_names
from pawprint.sources.members import DAMAGE, Listing, Member, open_part, reading
from pawprint.sources.quota import Quota

MAX_HEADER_BYTES = 1 << 20  # of one name, or one set of attributes
MAX_OFFSET = 1 << 60
NOWHERE = (-1, 0)  # the place of no file
_OPENERS: dict[str, Callable[[Any], Any]] = {
    "a gzip archive": gzip.open,
    "a bzip2 archive": bz2.open,
    "an xz archive": lzma.open,
}


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, or a compressed one, also where too little of that is left."""
    try:
        with _decompressed(path) as file:
            return _has_header(file.read(tarfile.BLOCKSIZE))
    except DAMAGE:
        return True
    except OSError as error:
        if error.errno is not None:
            raise
        return True  # so say gzip and bz2


def _has_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")  # checks its sum
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        kind = recognize(file.read(HEAD_BYTES))
        file.seek(0)
        opener = _OPENERS.get(kind.name) if kind else None
        if opener is None:
            yield file
            return
        with opener(file) as content:
            yield content


@contextmanager
def open_tar(path: Path, work: Path, quota: Quota) -> Iterator[Listing]:
    """Lists a tar; a compressed one is unpacked to a file without a name in `work`.

    A hard link counts as the file that it leads to, under its own name. Symbolic links, devices and
    hard links to what is no file before them are ignored, and counted.

    Raises:
        SourceError: damaged, with a name of an unknown encoding, or `quota` is exceeded.
        OSError: `path` or `work` cannot be used.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work) as spool, _decompressed(path) as content:
        if isinstance(content, gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile):
            with reading(quota.place, "tar"):
                size = quota.copy_zip(content, spool, path.name, quota.packed)
            file: IO[bytes] = spool
        else:
            file, size = content, path.stat().st_size
        with reading(quota.place, "tar"):
            listing = _list_tar(file, size, quota)
        yield listing


def _list_tar(file: IO[bytes], size: int, quota: Quota) -> Listing:
    listing = Listing()
    found: list[tuple[str | bytes, tuple[int, int]]] = []
    folders: list[str | bytes] = []
    places: dict[str, tuple[int, int]] = {}  # name → where its bytes are
    headers = _Headers(open_part(file, (0, size)))
    with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8") as archive:  # type: ignore[call-overload]
        for info in archive:
            quota.count_files(1)
            if info.size < 0:  # tarfile would read in a circle
                raise tarfile.ReadError(f"{info.name!r} of {info.size} bytes")
            place = (info.offset_data, info.size)
            if info.islnk():
                place = places.get(_plain(info.linkname), NOWHERE)
            if info.issym() or place == NOWHERE:
                listing.ignored["symbolic link" if info.issym() else "hard link"] += 1
            elif info.islnk() or (info.isreg() and not info.issparse()):
                found.append((_stored_name(info, quota.names_encoding), place))
                places[_plain(info.name)] = place
            elif info.isdir():
                folders.append(_stored_name(info, quota.names_encoding))
            else:
                listing.ignored["not a file"] += 1
        _check_end(headers, archive.offset)  # see tests/test_private_sides.py

    def opener(place: tuple[int, int]) -> IO[bytes]:
        return open_part(file, place)

    stored = [*folders, *(name for name, _ in found)]
    names = decode_names(stored, quota.names_encoding, quota.place)
    listing.folders = names[: len(folders)]
    for name, (_, place) in zip(names[len(folders) :], found, strict=True):
        listing.members.append(Member(name, place[1], 0, opener, place))
    return listing


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _check_end(file: _Headers, offset: int) -> None:
    """tarfile takes whatever is no header for the end, which is made of zeros."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {offset}")


def _stored_name(info: tarfile.TarInfo, encoding: str) -> str | bytes:
    """The name as text if a pax header gives it, or if it is UTF-8 and no encoding is set."""
    raw = info.name.encode("utf-8", "surrogateescape")
    if encoding and "path" not in info.pax_headers:
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Headers:
    """A file for tarfile, which reads headers only; an endless one would fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if abs(offset) > MAX_OFFSET:
            raise tarfile.ReadError(f"a header at byte {offset}")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
