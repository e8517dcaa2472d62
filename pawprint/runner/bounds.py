"""Files that others may have made: read once, and refused where they are too large or too deep.

What is refused is a ValueError that says why in a few words; who called knows the file's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np

BLOCK_BYTES = 1 << 20
MAX_JSON_BYTES = 4 << 20
MAX_JSON_DEPTH = 50
MAX_DIRECTORY_BYTES = 65_535  # of the list of a zip's members: at most 1,400 of them
ENCRYPTED_MEMBER = 0x1
MAX_H5_OBJECTS = 100_000
MAX_H5_DEPTH = 30
MAX_H5_RATIO = 4  # weights hardly get smaller when they are compressed
# The end of a zip without a comment, and before it where the end of a Zip64 would be announced.
# Source: APPNOTE.TXT of PKWARE, sections 4.3.15 and 4.3.16
_ZIP_END = struct.Struct("<4s16x4s8xL4xH")


@contextmanager
def open_bounded(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open an ordinary file that is not too large.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is larger than `most_bytes`, or it is a device or a pipe, which need not end.
    """
    # A pipe nobody writes to would hold up an open that waits
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("not an ordinary file")
        if found.st_size > most_bytes:
            raise ValueError(f"{found.st_size:,} bytes, more than {most_bytes:,}")
        yield file


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The bytes of a file; errors as of ``open_bounded``."""
    with open_bounded(path, most_bytes) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"more than {most_bytes:,} bytes")
    return content


def copy_bounded(path: Path, target: Path, most_bytes: int) -> str:
    """Copy a file, so that nobody changes it between two looks at it.

    Returns:
        The SHA-256 of what was copied, in hexadecimal.

    Raises:
        OSError, ValueError: as ``open_bounded``, or `target` cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    with open_bounded(path, most_bytes) as source, open(target, "xb") as copy:
        while block := source.read(BLOCK_BYTES):
            size += len(block)
            if size > most_bytes:
                raise ValueError(f"more than {most_bytes:,} bytes")
            digest.update(block)
            copy.write(block)
    return digest.hexdigest()


def parse_json(content: bytes) -> object:
    """The value of a JSON text of a sane size.

    Raises:
        ValueError: it is no JSON in UTF-8, too large or too deep, or has NaN or infinity, which
            JSON lacks.
    """
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"{len(content):,} bytes of JSON, more than {MAX_JSON_BYTES:,}")
    too_deep = f"JSON of more than {MAX_JSON_DEPTH} levels"
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(too_deep) from None
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return value
        level = [
            inner
            for item in containers
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    raise ValueError(too_deep)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} in JSON, which has none")


@contextmanager
def open_stored_zip(file: BinaryIO) -> Iterator[ZipFile]:
    """Open a zip of few members that are neither compressed nor encrypted, as Pawprint writes them.

    Args:
        file: at any place; it can be sought in.

    Raises:
        ValueError: it is another zip, a damaged one, or none. So is damage found in the block.
    """
    try:
        _check_zip_end(file)
        with ZipFile(file) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names):
                raise ValueError("two members of its zip have one name")
            for info in archive.infolist():
                if info.flag_bits & ENCRYPTED_MEMBER:
                    raise ValueError(f"{info.filename[:100]!r} in its zip is encrypted")
                if info.compress_type != ZIP_STORED or info.file_size != info.compress_size:
                    raise ValueError(f"{info.filename[:100]!r} in its zip is compressed")
            yield archive
    except (BadZipFile, NotImplementedError, EOFError, struct.error) as error:
        raise ValueError(f"a damaged zip: {error}") from None


def _check_zip_end(file: BinaryIO) -> None:
    """Know how long the list of members is before all of it is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_END.size))
    tail = file.read(_ZIP_END.size)
    if len(tail) < _ZIP_END.size:
        raise ValueError("not a zip")
    zip64, end, directory_bytes, comment_bytes = _ZIP_END.unpack(tail)
    if end != b"PK\x05\x06" or comment_bytes:
        raise ValueError("not a zip, or one with a comment")
    if zip64 == b"PK\x06\x07" or directory_bytes > MAX_DIRECTORY_BYTES:
        raise ValueError(f"a zip with a list of members of more than {MAX_DIRECTORY_BYTES:,} bytes")


def read_member(archive: ZipFile, name: str, most_bytes: int) -> bytes:
    """The bytes of a member of such a zip; ValueError if it is missing or too large."""
    if name not in archive.namelist():
        raise ValueError(f"no {name} in its zip")
    size = archive.getinfo(name).file_size
    if size > most_bytes:
        raise ValueError(f"{name}: {size:,} bytes, more than {most_bytes:,}")
    return archive.read(name)


def check_h5(file: Path | BinaryIO) -> None:
    """Look at all arrays of an HDF5 file of weights before Keras reads them.

    Raises:
        ValueError: it is damaged; it leads to other files; unpacked, it is far larger than it is;
            or one of its numbers is not finite.
    """
    import h5py

    size = file.stat().st_size if isinstance(file, Path) else file.seek(0, os.SEEK_END)
    try:
        with h5py.File(file, "r") as content:
            left, count, total = [(content, 0)], 0, 0
            while left:
                group, depth = left.pop()
                count += len(group)
                if count > MAX_H5_OBJECTS or depth > MAX_H5_DEPTH:
                    raise ValueError("HDF5 with too many objects, or too deep")
                for name in group:
                    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise ValueError(f"{name}: HDF5 with a link to another place")
                    item = group[name]
                    if isinstance(item, h5py.Group):
                        left.append((item, depth + 1))
                        continue
                    total += _check_array(item)
                    if total > MAX_H5_RATIO * size:
                        raise ValueError(f"HDF5 that unpacks to {total:,} bytes, of {size:,}")
                    if item.dtype.kind == "f" and not np.isfinite(item[()]).all():
                        raise ValueError(f"{item.name}: a weight that is not a finite number")
    except ValueError:
        raise
    except Exception as error:  # any byte can be damaged, and h5py has errors of many types
        raise ValueError(f"damaged HDF5: {error}") from None


def _check_array(item: object) -> int:
    """How many bytes an object of an HDF5 file takes in memory; ValueError if it is no array."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise ValueError("HDF5 with something that is no array")
    if item.is_virtual or item.external:
        raise ValueError(f"{item.name}: HDF5 with numbers from another file")
    if item.dtype.kind not in "fiu":
        raise ValueError(f"{item.name}: HDF5 with {item.dtype}, which is no number")
    return int(item.size) * item.dtype.itemsize
