"""Looks into files where their names do not tell, or cannot be trusted: at their first bytes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress

from tqdm import tqdm

from pawprint.registry.file_kinds import EMPTY_FILE, HEAD_BYTES, FileKind, recognize
from pawprint.runner.errors import LayoutError, SourceError
from pawprint.sources.layout import LabelledFile
from pawprint.sources.members import Listing, Member, reading
from pawprint.sources.names import claims_picture, is_hidden, quote, split_name


def recognize_others(listing: Listing, place: str) -> dict[int, FileKind]:
    """Position → kind of the files whose names do not say that they are pictures.

    Most data sets have few of these, so that few files are read twice.
    """
    unclear = []
    for index, member in enumerate(listing.members):
        parts = split_name(member.name, place)
        if not is_hidden(parts) and not claims_picture(parts[-1]):
            unclear.append(index)
    kinds = {}
    for index in tqdm(unclear, desc="look at files", unit="file", disable=len(unclear) < 1000):
        if kind := _kind(listing.members[index]):
            kinds[index] = kind
    return kinds


def check_classes(listing: Listing, pictures: Iterable[LabelledFile], place: str) -> None:
    """Refuses classes none of whose files is a picture, as far as their first bytes tell.

    A single file that is none stays: it is quarantined with its reason when it is decoded. So one
    file of a class is read here, where that one is a picture.

    Raises:
        LayoutError: there are such classes.
    """
    members: dict[str, list[Member]] = defaultdict(list)
    for picture in pictures:
        folder = f"{picture.split}/{picture.class_name}".lstrip("/")
        members[folder].append(listing.members[picture.index])
    kinds: Counter[FileKind] = Counter()
    empty = []
    for folder, files in members.items():
        if others := _kinds_without_picture(files):
            empty.append(folder)
            kinds += others
    if empty:
        found = ", ".join(f"{number} {kind.name}" for kind, number in kinds.most_common())
        advice = dict.fromkeys(kind.advice for kind, _ in kinds.most_common() if kind.advice)
        raise LayoutError(
            f"{place}: expected pictures, found none among the {kinds.total()} files under "
            f"{quote(empty)}, which are by their first bytes: {found}: "
            f"{'; '.join(advice) or 'put pictures there, or remove these folders'}"
        )


def _kinds_without_picture(files: list[Member]) -> Counter[FileKind]:
    """How many files are of which kind; nothing, as soon as one may be a picture."""
    kinds: Counter[FileKind] = Counter()
    for member in files:
        kind = _kind(member)
        if kind is None or kind.role == "picture":
            return Counter()
        kinds[kind] += 1
    return kinds


def _kind(member: Member) -> FileKind | None:
    """By its first bytes; None if it is none that is known, or cannot be read."""
    with suppress(SourceError), reading(member.name), member.open() as file:
        head = file.read(HEAD_BYTES)
        return recognize(head) if head else EMPTY_FILE
    return None
