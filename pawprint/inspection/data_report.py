"""What a person should know of a data set before a network sees it: ``data/report/``.

report.md           counts, duplicates, sizes, formats, damaged files and what is wrong with them
duplicates.csv      every picture that is in the data more than once, group by group
conflicts.csv       those of them whose group has more than one class
across_splits.csv   those of them whose group is in more than one split
parted_groups.csv   pictures of named groups that are in more than one split, if groups are named
decided.csv         pictures that were decided, and what was done with them, if any
pictures.csv        of every picture what its file says: bytes, width, height, format, mode
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from pawprint.data.decisions import Decided
from pawprint.data.groups import Groups, parted_groups
from pawprint.data.manifest import (
    SPLITS,
    Picture,
    across_splits,
    describe_leaks,
    group_members,
    in_conflict,
    summarize,
)
from pawprint.evaluation.markdown import markdown_table
from pawprint.inspection.duplicates import Link
from pawprint.inspection.remarks import RANGES, values_of_16_bits
from pawprint.inspection.thumbnails import Header, Thumbnail
from pawprint.runner.files import atomic_write
from pawprint.storage.tables import write_csv

PARTED, DECIDED = "parted_groups.csv", "decided.csv"
COLUMNS = ("group", "path", "class", "split", "kind", "similarity", "most_like")
FACTS = ("path", "bytes", "width", "height", "format", "mode")  # columns of pictures.csv
_LISTED = 20  # files named in report.md; the tables have them all


def write_data_report(
    out: Path,
    pictures: Sequence[Picture],
    thumbnails: Sequence[Thumbnail],
    links: Sequence[Link],
    remarks: Sequence[str] = (),
    groups: Groups | None = None,
    decided: Decided | None = None,
) -> None:
    """Write the files described at the top of this module, but for ``pictures.csv``.

    Args:
        out: directory to fill.
        pictures: sorted by path, each with its split.
        thumbnails: of the same pictures.
        links: the near duplicates among them.
        remarks: see ``pawprint.inspection.remarks``.
        groups: the named ones.
        decided: what a person decided of single pictures.
    """
    duplicates = [members for members in group_members(pictures).values() if len(members) > 1]
    left = {picture.sha256 for picture in pictures}
    most_like = _most_like(link for link in links if {link.first, link.second} <= left)
    tables = {
        "duplicates": duplicates,
        "conflicts": [members for members in duplicates if in_conflict(members)],
        "across_splits": [members for members in duplicates if across_splits(members)],
    }
    for name, chosen in tables.items():
        rows = [row for members in chosen for row in _duplicate_rows(members, most_like)]
        write_csv(out / f"{name}.csv", COLUMNS, rows)
    if groups:
        parted = parted_groups(pictures, groups)
        rows = [(name, p.path, p.class_name, p.split) for name in parted for p in parted[name]]
        write_csv(out / PARTED, ("group", "path", "class", "split"), rows)
    if decided and decided.decided:
        done = [
            (p.path, p.split, p.source_class, p.class_name, verdict)
            for p, verdict in decided.decided
        ]
        write_csv(out / DECIDED, ("path", "split", "source_class", "class", "decision"), done)
    headers = [thumbnail.header for thumbnail in thumbnails if thumbnail.header is not None]
    sections = [
        _counts(pictures),
        *([_remarks(remarks)] if remarks else ()),
        *([_decided(decided)] if decided and decided.decided else ()),
        _duplicates(pictures, duplicates),
        *([_named_groups(pictures, groups)] if groups else ()),
        _sizes(headers),
        *([_values(values)] if (values := values_of_16_bits(thumbnails)) else ()),
        _damaged(pictures, thumbnails),
    ]
    with atomic_write(out / "report.md") as file:
        file.write("\n".join(["# The pictures\n", *sections]).encode())


def write_facts(
    path: Path,
    pictures: Sequence[Picture],
    thumbnails: Sequence[Thumbnail],
    sizes: Mapping[str, int],
) -> None:
    """Write ``pictures.csv``: what the files say of themselves, empty where they cannot be read.

    Args:
        path: of the table.
        pictures: in any order.
        thumbnails: of the same pictures.
        sizes: path → bytes.
    """
    headers = [thumbnail.header for thumbnail in thumbnails]
    rows = [
        (p.path, sizes[p.path], *((h.width, h.height, h.format, h.mode) if h else [""] * 4))
        for p, h in zip(pictures, headers, strict=True)
    ]
    write_csv(path, FACTS, rows)


def _most_like(links: Iterable[Link]) -> dict[str, tuple[float, str]]:
    """digest → similarity and digest of the file that is most like it."""
    best: dict[str, tuple[float, str]] = {}
    for link in links:
        for digest, other in ((link.first, link.second), (link.second, link.first)):
            best[digest] = max(best.get(digest, (0.0, "")), (link.similarity, other))
    return best


def _duplicate_rows(
    members: Sequence[Picture], most_like: dict[str, tuple[float, str]]
) -> list[tuple[str | float, ...]]:
    paths: dict[str, list[str]] = {}
    for picture in members:
        paths.setdefault(picture.sha256, []).append(picture.path)
    rows: list[tuple[str | float, ...]] = []
    for p in members:
        same = [path for path in paths[p.sha256] if path != p.path]
        # what joined it with the others may have been dropped by a decision
        similarity, other = (1.0, "") if same else most_like.get(p.sha256, ("", ""))
        like = same[0] if same else paths.get(other, [""])[0]
        kind = "exact" if same else "near"
        rows.append((p.group, p.path, p.class_name, p.split, kind, similarity, like))
    return rows


def _counts(pictures: Sequence[Picture]) -> str:
    counts = Counter((picture.class_name, picture.split) for picture in pictures)
    names = sorted({picture.class_name for picture in pictures})
    rows = [_count_row(name, [counts[name, split] for split in SPLITS]) for name in names]
    totals = [sum(counts[name, split] for name in names) for split in SPLITS]
    return _table(["class", *SPLITS, "all"], [*rows, _count_row("all", totals)])


def _count_row(name: str, counts: Sequence[int]) -> list[object]:
    return [name, *counts, sum(counts)]


def _remarks(remarks: Sequence[str]) -> str:
    return "## To mind\n\n" + "".join(f"- {remark}.\n" for remark in remarks)


def _named_groups(pictures: Sequence[Picture], groups: Groups) -> str:
    sizes = Counter(groups.name_of.values())
    rows: list[list[object]] = [
        ["groups", len(sizes), groups.source],
        ["pictures with a group", len(groups.name_of), ""],
        ["pictures without one", len(pictures) - len(groups.name_of), ""],
        ["pictures in the largest group", max(sizes.values()), ""],
        ["rows that name no picture", groups.unknown, ""],
        ["groups in more than one split", len(parted_groups(pictures, groups)), PARTED],
    ]
    return "## Groups\n\n" + _table(["what", "how many", "see"], rows)


def _values(values: Sequence[int]) -> str:
    """Which part of their range pictures of 16 bits use."""
    counts = Counter(next(most for most in RANGES if value <= most) for value in values)
    rows = [[f"{most}", f"{most.bit_length()}", counts[most]] for most in RANGES if counts[most]]
    return (
        f"## 16-bit pictures\n\n{len(values)} do not say which value is white; the largest value "
        f"in them is {max(values)}.\nWhite is preprocess.max_value; 0 stands for 65535.\n\n"
    ) + _table(["values up to", "bits", "pictures"], rows)


def _duplicates(pictures: Sequence[Picture], groups: Sequence[Sequence[Picture]]) -> str:
    summary = summarize(pictures)
    largest = max(map(len, groups), default=1)
    rows: list[list[object]] = [
        ["exact copies of another file", summary["exact_duplicates"], "duplicates.csv"],
        ["near duplicates of another picture", summary["near_duplicates"], "duplicates.csv"],
        ["pictures in the largest group", largest, "duplicates.csv"],
        ["groups of more than one class", summary["label_conflicts"], "conflicts.csv"],
        ["groups in more than one split", summary["across_splits"], "across_splits.csv"],
    ]
    text = "## Duplicates\n\n" + _table(["what", "how many", "listed in"], rows)
    if leaks := describe_leaks(pictures):
        text += (
            "\nThe data came divided, and its division was kept.\n"
            + "".join(f"{sentence}.\n".replace(": ", ":\n") for sentence in leaks)
            + "Remove one of each pair from the source, or all folders of splits,\n"
            "to have the division made anew.\n"
        )
    return text


def _decided(decided: Decided) -> str:
    counts = decided.counts
    rows: list[list[object]] = [
        ["relabelled", counts["relabel"], DECIDED],
        ["dropped; counted nowhere else", counts["drop"], DECIDED],
        ["kept as they came", counts["keep"], DECIDED],
    ]
    return "## Decisions\n\n" + _table(["pictures", "how many", "listed in"], rows)


def _sizes(headers: Sequence[Header]) -> str:
    if not headers:
        return "## Sizes\n\nNo file has a header that can be read.\n"
    measures: dict[str, list[float]] = {
        "width, pixels": [header.width for header in headers],
        "height, pixels": [header.height for header in headers],
        "width / height": [round(header.width / header.height, 2) for header in headers],
    }
    sizes = [[name, min(v), f"{median(v):g}", max(v)] for name, v in measures.items()]
    formats = Counter((header.format, header.mode) for header in headers)
    ranked = sorted(formats.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(
        [
            "## Sizes\n",
            _table(["of the file", "least", "median", "greatest"], sizes),
            _table(["format", "mode", "pictures"], [[*key, count] for key, count in ranked]),
        ]
    )


def _damaged(pictures: Sequence[Picture], thumbnails: Sequence[Thumbnail]) -> str:
    damaged = [(p.path, t.reason) for p, t in zip(pictures, thumbnails, strict=True) if t.reason]
    text = f"## Damaged files\n\n{len(damaged)} cannot be decoded"
    if not damaged:
        return f"{text}.\n"
    counts = Counter(reason for _, reason in damaged)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f"\n... and {len(damaged) - _LISTED} more.\n" if len(damaged) > _LISTED else ""
    return "\n".join(
        [
            f"{text}; stage preprocess sets them aside, in data/processed/quarantine.csv.\n",
            _table(["reason", "pictures"], ranked[:_LISTED]),
            _table(["file", "reason"], damaged[:_LISTED]) + more,
        ]
    )


def _table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    return markdown_table(header, rows) + "\n"
