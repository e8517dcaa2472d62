"""``python -m pawprint clear-downloads``: removes the downloads that were kept."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from pawprint.sources.downloads import find_downloads, remove_downloads, with_size


def main(arguments: list[str], prog: str) -> int:
    """Print a line for each download, and remove it unless ``--list`` is given.

    Only files that Pawprint put there are touched; see ``pawprint.sources.downloads``.

    Args:
        arguments: behind the command's name.
        prog: how the command was called, for its help.

    Returns:
        The exit code, 0: to have nothing to remove is no mistake.

    Raises:
        OSError: a file cannot be removed.
    """
    options = _parse(arguments, prog)
    directory = Path(options.directory)
    found = find_downloads(directory)
    if not found:
        print(f"{directory}: no downloads of Pawprint's are kept here")
        return 0
    total = sum(path.stat().st_size for path in found)
    for path in found:
        print(with_size(path))
    if not options.list:
        remove_downloads(found)
        with suppress(OSError):  # others' files are there
            directory.rmdir()
    print(f"{'found' if options.list else 'removed'}: {len(found)} files, {total:,} bytes")
    return 0


def _parse(arguments: list[str], prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Remove the downloads that stage download has kept, whole and unfinished ones; "
        "other files stay. The pictures that were made of them stay too. Do not run it while dvc "
        "runs.",
    )
    add = parser.add_argument
    add("--list", action="store_true", help="only say what is kept, and how large it is")
    add(
        "--directory", default="data/download", metavar="DIR", help="of the downloads (%(default)s)"
    )
    return parser.parse_args(arguments)
