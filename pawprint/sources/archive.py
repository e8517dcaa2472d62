"""Writes the canonical archive.

The canonical archive is a zip whose bytes depend on the pictures and their labels alone: members
`<class>/<name>` or `<split>/<class>/<name>` sorted by code point, stored, with one fixed time stamp
and fixed attributes. Nothing is ever unpacked to a path that an archive names.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pawprint.runner.files import atomic_write
from pawprint.sources.contents import check_classes, recognize_others
from pawprint.sources.layout import Layout, read_layout
from pawprint.sources.members import Listing, Member, reading
from pawprint.sources.quota import COPY_CHUNK_BYTES, Quota

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name
MAX_NOTES = 12


@dataclass(frozen=True)
class FetchReport:
    """What a canonical archive holds: `str()` of it has a line per split and one for the rest.

    Attributes:
        counts: split → class → number of pictures; the split is empty if there is no division.
        ignored: reason → number of files that are not in the archive.
        notes: lines about what was set aside, or taken in a way that is not the only one.
    """

    counts: dict[str, dict[str, int]]
    ignored: dict[str, int]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [_describe(split, counts) for split, counts in self.counts.items()]
        if self.ignored:
            reasons = ", ".join(f"{number} {reason}" for reason, number in self.ignored.items())
            lines.append(f"ignored: {reasons}")
        lines += self.notes[:MAX_NOTES]
        if len(self.notes) > MAX_NOTES:
            lines.append(f"and {len(self.notes) - MAX_NOTES} more such lines")
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
    layout = read_layout(
        [member.name for member in listing.members],
        quota.place,
        kinds=recognize_others(listing, quota.place),
        sizes=[member.size for member in listing.members],
        digest=lambda index: _digest(listing.members[index], quota),
        left_out=listing.ignored,
        links=listing.links,
        folders=listing.folders,
    )
    total = 0
    for picture in layout.pictures:
        member = listing.members[picture.index]
        total += member.size
        quota.check_picture(member.name, member.size, member.packed, total)
    check_classes(listing, layout.pictures, quota.place)
    report = _report(layout, listing.ignored)
    layout.pictures.reverse()
    with atomic_write(out) as file, zipfile.ZipFile(file, "w") as archive:
        for _ in tqdm(range(len(layout.pictures)), desc=out.name, unit="picture"):
            picture = layout.pictures.pop()  # its memory is free for what zipfile keeps of it
            _copy(listing.members[picture.index], archive, picture.path, quota)
    return report


def _digest(member: Member, quota: Quota) -> bytes:
    quota.check_picture(member.name, member.size, member.packed, member.size)
    found = hashlib.sha256()
    with reading(f"{quota.place}: {member.name!r}"), member.open() as source:
        while chunk := source.read(COPY_CHUNK_BYTES):
            found.update(chunk)
    return found.digest()


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
        tuple(layout.notes),
    )
