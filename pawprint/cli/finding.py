"""Which files of the command line are pictures."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from pawprint.cli.reading import STDIN, Source, describe
from pawprint.registry.file_kinds import HEAD_BYTES, recognize

ODD_FILE = "not an ordinary file, or a link that leads to none"
LINKED_FOLDER = "a link to a folder, which is not followed: name it itself"


def find_pictures(paths: Iterable[str]) -> list[Source]:
    """Pictures, folders and globs → pictures, in the order given; folders and globs are sorted.

    In folders, and in theirs, files count that are pictures by suffix or content and not hidden;
    links to folders are not followed, by ``**`` neither. Whatever leads to no picture becomes a
    source with an error.
    """
    return [source for path in paths for source in _find(path)]


def _find(path: str) -> list[Source]:
    if path == STDIN or (os.path.lexists(path) and not os.path.isdir(path)):
        return [Source(path)]
    if os.path.isdir(path):
        return _list_folder(path) or [Source(path, "no pictures in this folder")]
    if glob.has_magic(path):
        found: dict[str, Source] = {}  # a pattern may match a folder and what is in it
        matches, passed = _expand(path)
        for match in sorted(matches):
            sources = _list_folder(match) if os.path.isdir(match) else [Source(match)]
            found |= {source.path: source for source in sources}
        found |= {place: Source(place, why) for place, why in sorted(passed.items())}
        for match in matches:  # a link that the pattern names itself is followed
            if found.get(match, Source(match)).error == LINKED_FOLDER:
                del found[match]
        return list(found.values()) or [Source(path, "no picture matches")]
    return [Source(path, "no such file or folder")]


def _expand(pattern: str, top: str | None = None) -> tuple[set[str], dict[str, str]]:
    """The paths that a pattern matches, and what its ``**`` did not look into: path → why.

    ``glob.glob`` follows links to folders, also in circles. A pattern that ends in ``**`` is its
    folder.

    Args:
        pattern: what to look for.
        top: a folder of which all is looked through anyway.
    """
    before, after = _split_at_stars(pattern)
    if after is None:
        return set(glob.glob(pattern)), {}
    roots = [root for root in glob.glob(before) if os.path.isdir(root)] if before else [os.curdir]
    if not after:
        return set(roots), {}
    matches: set[str] = set()
    passed: dict[str, str] = {}

    def report(error: OSError) -> None:
        passed[error.filename] = describe(error)

    for root in roots:
        for directory, subfolders, _ in os.walk(root, onerror=report):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            place = directory if before else directory.removeprefix(os.curdir).lstrip(os.sep)
            for path in (os.path.join(place, name) for name in subfolders):
                if os.path.islink(path) and not _leads_into(path, top or root):
                    passed[path] = LINKED_FOLDER
            here, there = _expand(os.path.join(glob.escape(place), after), top or root)
            matches |= {path for path in here if not (os.path.islink(path) and os.path.isdir(path))}
            passed |= there
    return matches, passed


def _split_at_stars(pattern: str) -> tuple[str, str | None]:
    """What stands before the first part ``**``, and what behind it; None: it has no such part.

    >>> _split_at_stars("photos/**/**/*.jpg"), _split_at_stars("/**"), _split_at_stars("a**b/c")
    (('photos', '*.jpg'), ('/', ''), ('a**b/c', None))
    """
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return pattern, None
    first = parts.index("**")
    behind = next((i for i in range(first, len(parts)) if parts[i] != "**"), len(parts))
    before = os.sep.join(parts[:first]) or (os.sep if first else "")
    return before, os.sep.join(parts[behind:])


def _list_folder(folder: str) -> list[Source]:
    from pawprint.sources.names import claims_picture, is_hidden  # here: it takes a while

    sources = []

    def report(error: OSError) -> None:
        sources.append(Source(error.filename, describe(error)))

    for directory, subfolders, names in os.walk(folder, onerror=report):
        for path in (os.path.join(directory, name) for name in subfolders):
            hidden = is_hidden(Path(path).relative_to(folder).parts)
            if os.path.islink(path) and not hidden and not _leads_into(path, folder):
                sources.append(Source(path, LINKED_FOLDER))
        for name in names:
            path = os.path.join(directory, name)
            if is_hidden(Path(path).relative_to(folder).parts):
                continue
            if not os.path.isfile(path):
                if claims_picture(name):  # a pipe, a device, a link that leads nowhere
                    sources.append(Source(path, ODD_FILE))
                continue
            if claims_picture(name) or _begins_as_picture(path):
                sources.append(Source(path))
    return sorted(sources, key=lambda source: source.path)


def _leads_into(link: str, folder: str) -> bool:
    """Whether what is behind a link is listed anyway, as with ``latest`` beside ``2026-11-28``."""
    return Path(os.path.realpath(link)).is_relative_to(os.path.realpath(folder))


def _begins_as_picture(path: str) -> bool:
    """Whether a file is a picture by its first bytes, as the pipeline tells it."""
    try:
        with open(path, "rb") as file:
            kind = recognize(file.read(HEAD_BYTES))
    except OSError:
        return False
    return kind is not None and kind.role == "picture"
