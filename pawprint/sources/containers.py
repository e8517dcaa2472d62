"""Opens an archive by what it is, not by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawprint.registry.file_kinds import HEAD_BYTES, FileKind, recognize
from pawprint.runner.errors import SourceError
from pawprint.sources.members import Listing
from pawprint.sources.quota import Quota
from pawprint.sources.tars import is_tar, open_tar
from pawprint.sources.zips import open_zip


@contextmanager
def open_container(path: Path, work: Path, quota: Quota) -> Iterator[Listing]:
    """Lists a zip or a tar; see `open_zip` and `open_tar`.

    Raises:
        SourceError: also if it is neither; its `__cause__` says then that the bytes are at fault.
    """
    if is_tar(path):
        with open_tar(path, work, quota) as listing:
            yield listing
        return
    if fault := archive_fault(path):
        cause = zipfile.BadZipFile(fault)
        raise SourceError(f"{quota.place}: expected a zip or a tar, found {fault}") from cause
    with open_zip(path, work, quota) as listing:
        yield listing


def archive_fault(path: Path) -> str:
    """What a file is instead of a zip or a tar, and what to do; empty, if it may be one.

    What is not known by its first bytes, such as a damaged zip, is left to those who read it.
    """
    with path.open("rb") as file:
        kind = recognize(file.read(HEAD_BYTES))
    if kind is None or kind.name == "a zip" or is_tar(path):
        return ""
    if kind.role == "other" and zipfile.is_zipfile(path):  # a zip may stand behind other bytes
        return ""
    return f"{kind.name}: {_way_out(kind)}"


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, as far as its form tells."""
    return not archive_fault(path) and (zipfile.is_zipfile(path) or is_tar(path))


def _way_out(kind: FileKind) -> str:
    if kind.role == "container":
        return f"{kind.advice} and use data.folder: -S data.source=folder -S data.folder=PATH"
    if kind.role == "picture":
        return "pack the pictures in folders of their classes, or use data.folder"
    return kind.advice or "get the archive itself"
