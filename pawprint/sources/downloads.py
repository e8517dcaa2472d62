"""The downloads that are kept, so that nothing is fetched twice: their names, and their removal.

A name holds all that a download is known by, and nothing secret:

    url-<address>-<sum>.zip      16 digits of the SHA-256 of the address, and of the file
    url-<address>.part, .json    an unfinished one; what the server said of the latest one
    kaggle-<competition>/<competition>.zip
    kaggle-<owner>.<name>/<name>.zip, or kaggle-<owner>.<name>.<version>/<name>.zip
    <zip>.kaggle-partial         the note of Kaggle's client beside a zip that is not whole

Kaggle's names have no dots, so two of them never share a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # a part of Kaggle's names
PARTIAL = ".kaggle-partial"
OWN = re.compile(
    r"url-[0-9a-f]{16}(-[0-9a-f]{16})?\.(zip|part|json|json\.tmp)"
    rf"|kaggle-((?P<competition>{SLUG})|{SLUG}\.(?P<dataset>{SLUG})(\.\d+)?)"
    rf"/((?P=competition)|(?P=dataset))\.zip({re.escape(PARTIAL)})?"
)


@dataclass(frozen=True)
class Download:
    """A file that a server sent.

    Attributes:
        path: where it is kept.
        reason: why one of an earlier run may be used; empty: it was fetched just now.
    """

    path: Path
    reason: str = ""


def kaggle_file(directory: Path, name: str) -> Path:
    """Where the zip of a competition, `owner/name` or `owner/name/version` is kept.

    >>> kaggle_file(Path("kept"), "ann/pets/3").as_posix()
    'kept/kaggle-ann.pets.3/pets.zip'
    """
    file = name.split("/")[:2][-1]
    return directory / f"kaggle-{name.replace('/', '.')}" / f"{file}.zip"


def find_downloads(directory: Path) -> list[Path]:
    """The files in `directory` that Pawprint put there, whole or unfinished, sorted.

    Others, and symbolic links, are not among them.
    """
    folders = [path for path in directory.glob("kaggle-*") if not path.is_symlink()]
    paths = [*directory.glob("url-*"), *(path for folder in folders for path in folder.glob("*"))]
    return sorted(
        path
        for path in paths
        if OWN.fullmatch(path.relative_to(directory).as_posix())
        and path.is_file()
        and not path.is_symlink()
    )


def remove_downloads(paths: Iterable[Path]) -> None:
    """Removes files, if they are there, and the folders that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()


def with_size(path: Path) -> str:
    """A file's name and its size, for a message."""
    return f"{path} ({path.stat().st_size:,} bytes)"
