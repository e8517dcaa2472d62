"""Lists the files of a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from pawprint.runner.errors import SourceError
from pawprint.sources.members import Listing, Member
from pawprint.sources.quota import Quota


def list_folder(folder: Path, quota: Quota) -> Listing:
    """Lists all files below a folder.

    A symbolic link counts as the file that it leads to if that is inside the folder; other links
    are ignored, links to folders too.

    Raises:
        SourceError: a folder in it cannot be read, or there are too many files.
    """
    listing = Listing()
    root = folder.resolve()

    def refuse(error: OSError) -> None:
        name = f"{quota.place}: {error.filename!r}"
        raise SourceError(f"{name} cannot be read: {error.strerror}") from error

    for directory, subfolders, names in os.walk(root, onerror=refuse):
        linked = [path for name in subfolders if (path := Path(directory, name)).is_symlink()]
        quota.count_files(len(names) + len(linked))
        if not subfolders and not names:
            listing.folders.append(Path(directory).relative_to(root).as_posix())
        for path in linked:
            listing.leave_out_link(f"{path.relative_to(root).as_posix()}/*")
        for name in names:
            _list_file(Path(directory, name), root, listing)
    return listing


def _list_file(path: Path, root: Path, listing: Listing) -> None:
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
        listing.leave_out_link(path.relative_to(root).as_posix())
    elif path.is_file():
        name = path.relative_to(root).as_posix()
        listing.members.append(Member(name, path.stat().st_size, 0, _open_file, path))
    else:
        listing.ignored["not a file"] += 1


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")
