"""What a person has decided of single pictures: the rows of the file ``split.decisions``.

    sha256,decision,label,who,why

A row names a picture by its bytes, so that it holds wherever the picture lies and however it is
named; copies are decided together. The file is a source, kept in git: sorted, a picture a line, so
that the decisions of two people merge. The pictures themselves are never changed.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from pawprint.data.manifest import Picture, check_splits
from pawprint.runner.errors import DataError, one_line
from pawprint.storage.tables import printable, write_csv

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONFLICT = tuple(7 * mark for mark in "<=>|")  # what git leaves where a merge failed
_NAMED = 3  # pictures that are named in a warning, of many


class Verdict(StrEnum):
    """What is to be done with a picture."""

    KEEP = "keep"  # its label is right, whatever a model thinks
    RELABEL = "relabel"  # it is of another class
    DROP = "drop"  # it belongs to no class


@dataclass(frozen=True)
class Decision:
    """A row.

    Attributes:
        sha256: of the picture's bytes, 64 hexadecimal digits.
        decision: a ``Verdict``.
        label: its class from now on, if it is relabelled; else empty.
        who, why: as the person wrote them; may be empty.
    """

    sha256: str
    decision: Verdict
    label: str = ""
    who: str = ""
    why: str = ""


DECISION_COLUMNS = tuple(field.name for field in fields(Decision))
Decisions = Mapping[str, Decision]  # sha256 → what is decided of it


@dataclass(frozen=True)
class Decided:
    """What decisions did to a data set.

    Attributes:
        pictures: those that are left, with their labels, in their order.
        decided: pictures as they are now (dropped ones as they were), and what was done with them;
            to be relabelled as what it was is to be kept.
        unmatched: decisions on pictures that the data set does not have.
    """

    pictures: list[Picture]
    decided: list[tuple[Picture, Verdict]]
    unmatched: list[Decision]

    @property
    def counts(self) -> dict[str, int]:
        """Pictures, not decisions, by verdict."""
        done = Counter(verdict for _, verdict in self.decided)
        return {verdict.value: done[verdict] for verdict in Verdict}


def read_decisions(class_names: Collection[str], path: Path) -> dict[str, Decision]:
    """Read the file.

    Args:
        class_names: that pictures came with; another cannot be given.
        path: of the file.

    Raises:
        DataError: it is no such table, a row is wrong, or two rows decide one picture otherwise.
    """
    found: dict[str, Decision] = {}
    lines: dict[str, int] = {}
    for line, row in _read_rows(path):
        one = _parse(row, class_names, f"{path}, line {line}")
        other = found.setdefault(one.sha256, one)
        if (other.decision, other.label) != (one.decision, one.label):
            raise DataError(
                f"{path}, line {line}: {one.sha256[:12]}… is decided as {_say(one)}, but as "
                f"{_say(other)} in line {lines[one.sha256]}; expected one decision: remove a line"
            )
        lines.setdefault(one.sha256, line)
    return found


def check_unchanged(decisions: Decisions, class_names: Collection[str], path: Path) -> None:
    """Check that nobody has decided anything since the file was read.

    DVC notes the file as it is when a stage ends, and would take the new decisions for carried out.

    Raises:
        DataError: somebody has, or the file cannot be read any more.
    """
    if read_decisions(class_names, path) != decisions:
        raise DataError(
            f"{path}: changed while this stage ran, which has read it at its start; run "
            "`dvc repro` again"
        )


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            header = tuple(table.fieldnames or ())
            if header != DECISION_COLUMNS:
                _refuse_conflict(path, 1, "".join(header[:1]))
                raise DataError(
                    f"{path}: expected the columns {','.join(DECISION_COLUMNS)} in its first line, "
                    f"found {one_line(','.join(header)) or 'nothing'}; write them so"
                )
            rows = []
            for row in table:
                if None in row or None in row.values():
                    _refuse_conflict(path, table.line_num, next(iter(row.values())) or "")
                    raise DataError(
                        f"{path}, line {table.line_num}: expected {len(DECISION_COLUMNS)} columns, "
                        f"{','.join(DECISION_COLUMNS)}, found another number; mend the line"
                    )
                rows.append((table.line_num, row))
            return rows
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: expected UTF-8 text, found other bytes; save it as UTF-8"
        ) from None
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataError(
            f"{path}: expected the file of decisions (split.decisions), found "
            f"{'none' if isinstance(error, FileNotFoundError) else 'a folder'}; bring it back by "
            f"`git checkout -- {path}`, or write one with the line {','.join(DECISION_COLUMNS)}"
        ) from None
    except csv.Error as error:
        raise DataError(
            f"{path}: expected a CSV, found: {one_line(error)}; take an earlier version of it "
            f"from git (git log {path})"
        ) from None


def _refuse_conflict(path: Path, line: int, text: str) -> None:
    if text.startswith(_CONFLICT):
        raise DataError(
            f"{path}, line {line}: expected a decision, found git's mark of a merge that failed; "
            "remove the marks, and of two lines with one sha256 the one that is wrong"
        )


def _parse(row: Mapping[str, str], class_names: Collection[str], where: str) -> Decision:
    values = {name: row[name].strip() for name in DECISION_COLUMNS}
    digest, label = values["sha256"].lower(), values["label"]
    if row["label"] in class_names:
        label = row["label"]  # the name of a folder may begin or end with a space
    if not _DIGEST.fullmatch(digest):
        raise DataError(
            f"{where}: sha256: expected 64 hexadecimal digits, found {one_line(digest)!r}"
        )
    try:
        verdict = Verdict(values["decision"])
    except ValueError:
        raise DataError(
            f"{where}: decision: expected {', '.join(Verdict)}, "
            f"found {one_line(values['decision'])!r}"
        ) from None
    relabels = verdict is Verdict.RELABEL
    if (label not in class_names) if relabels else label:
        classes = f"a class of the data, one of {', '.join(map(printable, sorted(class_names)))}"
        raise DataError(
            f"{where}: label of a picture to {verdict}: expected "
            f"{classes if relabels else 'none'}, found {one_line(label) or 'none'}"
        )
    return Decision(digest, verdict, label, values["who"], values["why"])


def write_decisions(decisions: Decisions, path: Path) -> None:
    """Write the file, sorted by SHA-256: it is whole at any moment."""
    rows = sorted(decisions.values(), key=lambda one: one.sha256)
    write_csv(path, DECISION_COLUMNS, (list(asdict(one).values()) for one in rows))


def apply_decisions(pictures: Sequence[Picture], decisions: Decisions) -> Decided:
    """Drop and relabel pictures; each that is left keeps its place and its split.

    Args:
        pictures: with the labels that they came with, each with its split.
        decisions: as read.
    """
    left: list[Picture] = []
    decided: list[tuple[Picture, Verdict]] = []
    for picture in pictures:
        if picture.sha256 in decisions:
            what = decisions[picture.sha256]
            same = what.label == picture.class_name
            verdict = Verdict.KEEP if same else what.decision
            picture = replace(picture, class_name=what.label or picture.class_name)
            decided.append((picture, verdict))
            if verdict is Verdict.DROP:
                continue
        left.append(picture)
    known = {picture.sha256 for picture in pictures}
    unmatched = [one for digest, one in sorted(decisions.items()) if digest not in known]
    return Decided(left, decided, unmatched)


def check_decided(
    came: Sequence[Picture], decided: Decided, together: Mapping[str, str], path: Path
) -> None:
    """Check that a classifier can be trained and judged on what is left.

    Args:
        came: all pictures, each with its split.
        decided: of these.
        together: as of ``assign_splits``.
        path: of the decisions.

    Raises:
        DataError: as of ``check_splits``; where decisions are the reason, it names them.
    """
    try:
        check_splits(decided.pictures, together)
    except DataError as error:
        check_splits(came, together)
        done = decided.counts
        raise DataError(
            f"with the decisions in {path} ({done['relabel']} pictures relabelled, {done['drop']} "
            f"dropped): {error}; or take some of the decisions back"
        ) from None


def describe_decided(decided: Decided, path: Path) -> list[str]:
    """What was done, and what could not be done, in a line each; none without decisions."""
    lines = []
    if decided.decided:
        done = decided.counts
        lines.append(
            f"decided in {path}: {done['relabel']} pictures relabelled, {done['drop']} dropped, "
            f"{done['keep']} kept as they came"
        )
    left = {picture.class_name for picture in decided.pictures}
    if gone := sorted({picture.source_class for picture, _ in decided.decided} - left):
        lines.append(
            f"warning: no picture of {', '.join(map(printable, gone))} is left after the decisions "
            f"in {path}: the models will not know {'this class' if len(gone) == 1 else 'these'}"
        )
    if unmatched := decided.unmatched:
        named = ", ".join(f"{one.sha256[:12]}… ({_say(one)})" for one in unmatched[:_NAMED])
        more = f" and {len(unmatched) - _NAMED} more" if len(unmatched) > _NAMED else ""
        lines.append(
            f"warning: {len(unmatched)} of the decisions in {path} match no picture: {named}{more};"
            " they do nothing: remove them, or bring the pictures back"
        )
    return lines


def _say(one: Decision) -> str:
    return one.decision + (f" as {printable(one.label)}" if one.label else "")
