"""Writes files and directories so that a reader meets the old one or the whole new one."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = Path(
    ".resume"
)  # kept of stages that were stopped; git ignores it, DVC does not know it


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file's bytes, in hexadecimal, by an algorithm of ``hashlib``."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def files_of(paths: Iterable[Path | str]) -> Iterator[Path]:
    """Files, and all files in directories, sorted; without what Python leaves among modules."""
    for path in sorted(map(Path, paths)):
        inside = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        yield from inside if path.is_dir() else [path]


def is_disk_full(error: OSError) -> bool:
    """Whether a write failed because the disk, the quota or the allowed file size is exhausted."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Opens a new binary file that takes the name `path` only when the block ends well.

    The bytes go to `<path>.tmp` in the same directory (made if missing), are flushed to the disk
    and renamed. A block that raises leaves whatever stood at `path` before, and no `.tmp`. A
    killed process leaves the `.tmp`, which the next write replaces: two processes must not write
    the same path at once.

    Args:
        path: of the file.
        flush: whether to wait for the disk. Without it a power cut may leave an empty file; it is
            for files that are checked before they are used, or flushed with their directory.

    Raises:
        OSError: the directory cannot be written, or the disk is full; it names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with _names_what_is_full(path), temporary.open("w+b") as file:
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if flush:
        _sync(path.parent)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Makes a new directory that takes the name `path` only when the block ends well.

    It is filled as `<path>.tmp`, flushed to the disk and renamed; whatever stood at `path` goes. A
    block that raises leaves that as it was, and no `.tmp`. A killed process leaves the `.tmp`,
    which the next one replaces.

    Raises:
        OSError: the parent directory cannot be written, or the disk is full; it names the path.
    """
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with _names_what_is_full(path):
            yield temporary
        move_directory(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def move_directory(source: Path, target: Path) -> None:
    """Gives a directory, its files flushed to the disk, the name `target`, replacing what is there.

    Where `target` lies on another file system, a copy takes its name. What stood there is deleted
    only when the new directory has the name.
    """
    for path in [*source.rglob("*"), source]:
        _sync(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _take_name(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_directory(target) as copy:
            shutil.copytree(source, copy, dirs_exist_ok=True)
        shutil.rmtree(source)


def _take_name(source: Path, target: Path) -> None:
    # No system call replaces a directory that is not empty: the old one is moved aside meanwhile
    aside = target.with_name(target.name + ".old.tmp")
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(target, aside)
    try:
        os.rename(source, target)
    except OSError:
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        raise
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _names_what_is_full(path: Path) -> Iterator[None]:
    # A write that fails knows no name, unlike an open; the user must know which disk it was
    try:
        yield
    except OSError as error:
        if is_disk_full(error) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _sync(path: Path) -> None:
    # A rename survives a power cut only once its directory is on the disk; Windows has no such call
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
