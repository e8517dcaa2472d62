"""Lists the files of a zip, and of the zips in it."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pawprint.registry.file_kinds import HEAD_BYTES, recognize
from pawprint.runner.errors import SourceError
from pawprint.sources.encodings import decode_names, unicode_path
from pawprint.sources.members import Listing, Member, open_part, reading
from pawprint.sources.names import is_hidden, split_name
from pawprint.sources.quota import Quota

MAX_NESTING = 2  # zips within zips within the zip
ENCRYPTED = 0x1
UTF8 = 0x800
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_zip(path: Path, work: Path, quota: Quota) -> Iterator[Listing]:
    """Lists a zip, and the zips in it as if they were folders of the same name.

    Zips in the zip are copied to a file without a name in `work`, so that they can be read in any
    order; a killed process leaves nothing behind.

    Raises:
        SourceError: not a zip, damaged, encrypted, packed by an unusual method, with an unsafe
            name, or `quota` is exceeded.
        OSError: `path` or `work` cannot be used.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=work) as spool, ExitStack() as stack:
        nest = _Nest(spool, quota, stack)
        listing = Listing()
        _list_zip(_open_archive(path, quota.place, nest), "", listing, nest, depth=0)
        yield listing


@dataclass(frozen=True)
class _Nest:
    """The file that all nested zips are spooled to, their limits, and what closes them all."""

    spool: IO[bytes]
    quota: Quota
    stack: ExitStack


@dataclass(frozen=True)
class _Opened:
    """A zip, and the names of its members in their order."""

    archive: zipfile.ZipFile
    names: list[str]


def _open_archive(file: Path | IO[bytes], label: str, nest: _Nest) -> _Opened:
    with reading(label):
        archive = nest.stack.enter_context(zipfile.ZipFile(file))
    nest.quota.count_files(len(archive.infolist()))
    names = [_stored_name(info) for info in archive.infolist()]
    return _Opened(archive, decode_names(names, nest.quota.names_encoding, label))


def _stored_name(info: zipfile.ZipInfo) -> str | bytes:
    """The name as text where the zip says how it is encoded, else its bytes."""
    if info.flag_bits & UTF8:
        return info.filename
    # What zipfile made of the bytes loses none; see tests/test_private_sides.py
    raw = info.orig_filename.encode("cp437")
    return unicode_path(info.extra, raw) or raw.partition(b"\0")[0]


def _list_zip(opened: _Opened, prefix: str, listing: Listing, nest: _Nest, depth: int) -> None:
    opener = opened.archive.open
    for info, own_name in zip(opened.archive.infolist(), opened.names, strict=True):
        name = prefix + own_name
        if name.endswith("/") or (name.endswith("\\") and not info.file_size):
            listing.folders.append(name)
            continue
        _check_readable(info, f"{nest.quota.place}: {name!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            listing.leave_out_link(name)
        elif _is_zip(name, nest.quota.place) and depth < MAX_NESTING:
            inner = _open_nested(opened.archive, info, name, nest)
            folder = _nested_prefix(name, inner)
            listing.folders.append(folder)
            _list_zip(inner, folder, listing, nest, depth + 1)
        else:
            listing.members.append(Member(name, info.file_size, info.compress_size, opener, info))


def _check_readable(info: zipfile.ZipInfo, label: str) -> None:
    if info.flag_bits & ENCRYPTED:
        raise SourceError(
            f"{label} is encrypted: expected a zip without a password; unpack it and pack it again"
        )
    # Python unpacks bzip2 and LZMA without a bound: a few kilobytes of them can fill the memory
    if info.compress_type not in METHODS:
        method = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}.get(info.compress_type)
        raise SourceError(
            f"{label} is packed by {method or f'method {info.compress_type}'}: expected a zip that "
            "is deflated or stored, as nearly all are; unpack it and pack it again"
        )


def _is_zip(name: str, place: str) -> bool:
    parts = split_name(name, place)
    return parts[-1].lower().endswith(".zip") and not is_hidden(parts)


def _open_nested(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, nest: _Nest
) -> _Opened:
    label = f"{nest.quota.place}: {name!r}"
    start = nest.spool.seek(0, os.SEEK_END)
    with reading(label), archive.open(info) as source:
        size = nest.quota.copy_zip(source, nest.spool, name, info.compress_size)
    part = open_part(nest.spool, (start, size))
    kind = recognize(part.read(HEAD_BYTES))
    if kind and kind.name != "a zip" and not zipfile.is_zipfile(part):
        raise SourceError(
            f"{label}: expected a zip, found {kind.name}: {kind.advice or 'remove it'}"
        )
    return _open_archive(part, label, nest)


def _nested_prefix(name: str, inner: _Opened) -> str:
    """`a/train.zip` stands for the folder `a/train`, also when it holds that folder itself."""
    folder = name[: -len(".zip")]
    tops = {own_name.split("/")[0] for own_name in inner.names} - {"__MACOSX"}
    if tops == {folder.split("/")[-1]}:
        folder = folder.rpartition("/")[0]
    return f"{folder}/" if folder else ""
