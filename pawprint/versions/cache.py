"""Finds outputs of the last run in DVC's cache.

While a stage runs, its outputs are gone, but ``dvc.lock`` still tells the last ones, and DVC's
cache has them. It is read directly: DVC's own way to its files would take seconds, and fetch from a
remote what is not there. See tests/test_private_sides.py.

    <cache>/files/md5/ab/cdef...       a file, named by its MD5
    <cache>/files/md5/ab/cdef....dir   JSON: relpath and md5 of each file of a directory
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from pawprint.runner.files import atomic_write, file_digest
from pawprint.runner.params_file import load_yaml

FRESH = "PAWPRINT_FRESH"  # if it is set, all is made anew
_DEFAULT_TYPES = ("reflink", "copy")  # DVC's own


@dataclass(frozen=True)
class Version:
    """An output, or several, as of the last run.

    Attributes:
        files: path in the project → file in the cache.
        linked: whether DVC makes hard links of its cache: then files may become outputs as links.
    """

    files: Mapping[str, Path]
    linked: bool

    def array(self, directory: Path) -> list[Path]:
        """The shards of an array, in order."""
        prefix = f"{directory.as_posix()}/"
        names = [n for n in self.files if n.startswith(prefix) and n.endswith(".npy")]
        return [self.files[name] for name in sorted(names) if "/" not in name[len(prefix) :]]

    def text(self, path: Path) -> str | None:
        """A small file; None if there is none, or it is damaged: then it is removed."""
        file = self.files.get(path.as_posix())
        content = _read_checked(file) if file else None
        if file and content is None:
            remove_damaged(file)
        return None if content is None else content.decode("utf-8", "replace")


def find_version(stage: str, root: Path = Path()) -> Version | None:
    """The outputs that a stage had when it ran last.

    Args:
        stage: its name.
        root: of the project.

    Returns:
        None where it never ran, DVC's cache lacks one of its outputs, or ``PAWPRINT_FRESH`` is set.
    """
    if os.environ.get(FRESH):
        return None
    outs, (cache, types) = _read_lock(stage, root), _read_settings(root)
    files: dict[str, Path] = {}
    for path, md5 in outs.items():
        file = cache / "files/md5" / md5[:2] / md5[2:]
        entries = {path: file}
        if md5.endswith(".dir"):
            content = _read_checked(file)
            if content is None:
                return None
            entries = {f"{path}/{name}": place for name, place in _list(content, cache).items()}
        files |= entries
    return Version(files, types[0] == "hardlink") if files else None


def _list(content: bytes, cache: Path) -> dict[str, Path]:
    try:
        return {
            entry["relpath"]: cache / "files/md5" / entry["md5"][:2] / entry["md5"][2:]
            for entry in json.loads(content)
        }
    except (ValueError, KeyError, TypeError):
        return {}


def _read_lock(stage: str, root: Path) -> dict[str, str]:
    """Path and MD5 of each output that DVC caches; nothing where the lock cannot be read."""
    try:
        entry = load_yaml(root / "dvc.lock")["stages"][stage]
        return {out["path"]: out["md5"] for out in entry["outs"] if out.get("hash") == "md5"}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}


def _read_settings(root: Path) -> tuple[Path, list[str]]:
    """DVC's cache, and the types of its links, best first; later files of settings count more."""
    from dvc.dirs import global_config_dir, system_config_dir

    cache, types = root / ".dvc/cache", list(_DEFAULT_TYPES)
    folders = [Path(system_config_dir()), Path(global_config_dir())]
    for file in (
        *(f / "config" for f in folders),
        root / ".dvc/config",
        root / ".dvc/config.local",
    ):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            settings.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        found = settings["cache"] if settings.has_section("cache") else {}
        if place := found.get("dir", "").strip("\"'"):
            cache = file.parent / Path(place).expanduser()
        if listed := found.get("type", "").strip("\"'"):
            types = [name.strip() for name in listed.split(",")]
    return cache, types


def _read_checked(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    named = (file.parent.name + file.name).removesuffix(".dir")
    return content if hashlib.md5(content).hexdigest() == named else None


def is_whole(file: Path) -> bool:
    """Whether a file of the cache has the content that its name tells; all of it is read."""
    try:
        return file_digest(file, "md5") == file.parent.name + file.name
    except OSError:
        return False


def remove_damaged(file: Path) -> bool:
    """Remove a file of the cache if its content is not what its name tells; whether it was so.

    DVC does the same when it notices. Left there, it could become an output again: DVC links what
    its cache has under that name, and does not look into it.
    """
    if is_whole(file) or not file.exists():
        return False
    with suppress(OSError):  # a cache of others that may only be read
        file.unlink()
    return True


def link_or_copy(file: Path, target: Path, linked: bool) -> None:
    """Give a file of the cache a second name where its file system can, else copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # a run that was stopped has left it
    if linked:
        with suppress(OSError):  # another file system, or too many links
            os.link(file, target)
            return
    with open(file, "rb") as source, atomic_write(target, flush=False) as copy:
        shutil.copyfileobj(source, copy, 2**20)
