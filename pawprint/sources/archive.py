"""Reads pictures from a zip or a folder, and writes the canonical archive.

The canonical archive is a zip whose bytes depend on the pictures and their labels alone: members
`<class>/<name>` or `<split>/<class>/<name>` sorted by code point, stored, with one fixed time stamp
and fixed attributes. Nothing is ever unpacked to a path that an archive names.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from pawprint.runner.errors import SourceError
from pawprint.runner.files import atomic_write
from pawprint.sources.layout import Layout, ignored_reason, read_layout, split_name
from pawprint.sources.quota import Quota

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name
MAX_NESTING = 2  # zips within zips within the zip
ENCRYPTED = 0x1
UTF8 = 0x800
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a source, in as little memory as may be: there can be millions.

    Attributes:
        name: relative path, with the source's own spelling.
        size: in bytes, as the source states it.
        packed: the bytes that it takes within its zip; 0: it is not packed.
        opener: opens any file of the source.
        place: what `opener` needs to find it.
    """

    name: str
    size: int
    packed: int
    opener: Callable[[Any], IO[bytes]]
    place: Any

    def open(self) -> IO[bytes]:
        """For reading, any number of times, while its source is open."""
        return self.opener(self.place)


@dataclass
class Listing:
    """The files of a source, and the number of those left out, by reason."""

    members: list[Member] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class FetchReport:
    """What a canonical archive holds: `str()` of it has a line per split and one for the rest.

    Attributes:
        counts: split → class → number of pictures; the split is empty if there is no division.
        ignored: reason → number of files that are not in the archive.
    """

    counts: dict[str, dict[str, int]]
    ignored: dict[str, int]

    def __str__(self) -> str:
        lines = [_describe(split, counts) for split, counts in self.counts.items()]
        if self.ignored:
            reasons = ", ".join(f"{number} {reason}" for reason, number in self.ignored.items())
            lines.append(f"ignored: {reasons}")
        return "\n".join(lines)


def _describe(split: str, counts: dict[str, int], limit: int = 10) -> str:
    classes = [f"{name} {number}" for name, number in counts.items()]
    rest = f" and {len(classes) - limit} more" if len(classes) > limit else ""
    head = f"{split or 'all'}: {sum(counts.values())} pictures of {len(classes)} classes"
    return f"{head}: {', '.join(classes[:limit])}{rest}"


def write_archive(listing: Listing, out: Path, quota: Quota) -> FetchReport:
    """Writes the pictures among a source's files to the canonical archive `out`.

    Pictures are copied byte for byte, one at a time, and not decoded. `out` appears when it is
    complete.

    Raises:
        LayoutError: the files' names do not tell the classes.
        SourceError: a file is damaged or cannot be read, or `quota` is exceeded.
        OSError: `out` cannot be written.
    """
    layout = read_layout([member.name for member in listing.members], quota.place)
    total = 0
    for picture in layout.pictures:
        member = listing.members[picture.index]
        total += member.size
        quota.check_picture(member.name, member.size, member.packed, total)
    report = _report(layout, listing.ignored)
    layout.pictures.reverse()
    with atomic_write(out) as file, zipfile.ZipFile(file, "w") as archive:
        for _ in tqdm(range(len(layout.pictures)), desc=out.name, unit="picture"):
            picture = layout.pictures.pop()  # its memory is free for what zipfile keeps of it
            _copy(listing.members[picture.index], archive, picture.path, quota)
    return report


def _copy(member: Member, archive: zipfile.ZipFile, path: str, quota: Quota) -> None:
    info = zipfile.ZipInfo(path, EPOCH)
    info.create_system = 3  # Unix, on every system
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    label = f"{quota.place}: {member.name!r}"
    with archive.open(info, "w") as target, reading(label), member.open() as source:
        quota.copy_picture(source, target, member.name, member.packed)


def _report(layout: Layout, ignored: Counter[str]) -> FetchReport:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in layout.pictures:
        counts[picture.split][picture.class_name] += 1
    return FetchReport(
        {split: dict(counts[split]) for split in ("", "train", "val", "test") if split in counts},
        dict(sorted((ignored + Counter(layout.ignored)).items())),
    )


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turns the many exceptions of a damaged zip or an unreadable file into one SourceError.

    The error's `__cause__` is one of DAMAGE if the bytes are at fault.
    """
    try:
        yield
    except DAMAGE as error:
        raise _damaged(label, error) from error
    except PermissionError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        cause = zipfile.BadZipFile("a place outside of the file")
        raise _damaged(label, cause) from cause


def _damaged(label: str, error: Exception) -> SourceError:
    reason = "a name that is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return SourceError(
        f"{label} is damaged: expected a whole zip, found: {reason or type(error).__name__}; "
        "fetch or pack it again"
    )


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
        archive = stack.enter_context(_open_archive(path, quota.place))
        listing = Listing()
        _list_zip(archive, "", listing, _Nest(spool, quota, stack), depth=0)
        yield listing


@dataclass(frozen=True)
class _Nest:
    """The file that all nested zips are spooled to, their limits, and what closes them all."""

    spool: IO[bytes]
    quota: Quota
    stack: ExitStack


def _open_archive(file: Path | IO[bytes], label: str) -> zipfile.ZipFile:
    with reading(label):
        return zipfile.ZipFile(file)


def _list_zip(
    archive: zipfile.ZipFile, prefix: str, listing: Listing, nest: _Nest, depth: int
) -> None:
    nest.quota.count_files(len(archive.infolist()))
    opener = archive.open
    for info in archive.infolist():
        name = prefix + _decode_name(info)
        if name.endswith("/"):
            continue
        _check_readable(info, f"{nest.quota.place}: {name!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            listing.ignored["symbolic link"] += 1
        elif _is_zip(name, nest.quota.place) and depth < MAX_NESTING:
            inner = _open_nested(archive, info, name, nest)
            _list_zip(inner, _nested_prefix(name, inner), listing, nest, depth + 1)
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


def _decode_name(info: zipfile.ZipInfo) -> str:
    """The member's name, also where a packer stored UTF-8 without saying so, as macOS does."""
    if info.flag_bits & UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _is_zip(name: str, place: str) -> bool:
    parts = split_name(name, place)
    return parts[-1].lower().endswith(".zip") and ignored_reason(parts) != "hidden"


def _open_nested(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, nest: _Nest
) -> zipfile.ZipFile:
    label = f"{nest.quota.place}: {name!r}"
    start = nest.spool.seek(0, os.SEEK_END)
    with reading(label), archive.open(info) as source:
        size = nest.quota.copy_zip(source, nest.spool, name, info.compress_size)
    return nest.stack.enter_context(_open_archive(_open_part(nest.spool, (start, size)), label))


def _nested_prefix(name: str, inner: zipfile.ZipFile) -> str:
    """`a/train.zip` stands for the folder `a/train`, also when it holds that folder itself."""
    folder = name[: -len(".zip")]
    tops = {_decode_name(info).split("/")[0] for info in inner.infolist()} - {"__MACOSX"}
    if tops == {folder.split("/")[-1]}:
        folder = folder.rpartition("/")[0]
    return f"{folder}/" if folder else ""


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
        linked = sum(Path(directory, name).is_symlink() for name in subfolders)
        listing.ignored["symbolic link"] += linked
        quota.count_files(len(names))
        for name in names:
            _list_file(Path(directory, name), root, listing)
    listing.ignored = +listing.ignored
    return listing


def _list_file(path: Path, root: Path, listing: Listing) -> None:
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root)):
        listing.ignored["symbolic link"] += 1
    elif path.is_file():
        name = path.relative_to(root).as_posix()
        listing.members.append(Member(name, path.stat().st_size, 0, _open_file, path))
    else:
        listing.ignored["not a file"] += 1


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


@contextmanager
def spool_pictures(pictures: Iterator[tuple[str, bytes]], work: Path) -> Iterator[Listing]:
    """Lists pictures that arrive in any order, as (name, bytes), keeping the bytes on disk."""
    work.mkdir(parents=True, exist_ok=True)
    listing = Listing()
    with tempfile.TemporaryFile(dir=work) as spool:
        opener = partial(_open_part, spool)
        for name, data in pictures:
            start = spool.seek(0, os.SEEK_END)
            spool.write(data)
            listing.members.append(Member(name, len(data), 0, opener, (start, len(data))))
        yield listing


def _open_part(file: IO[bytes], place: tuple[int, int]) -> IO[bytes]:
    """A part by its first byte and its number of bytes."""
    return io.BufferedReader(_FilePart(file, *place))


class _FilePart(io.RawIOBase):
    """A part of a file as a file of its own: many nested zips need one descriptor."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as files do
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        data = self._file.read(min(len(buffer), max(0, self._size - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
