"""What a comparison says, in sentences and tables: for the terminal and the page alike."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from pawprint.comparison.differences import Comparison, Difference, Shared, Side
from pawprint.comparison.revisions import CROSSVAL, Revision
from pawprint.evaluation.markdown import markdown_table
from pawprint.storage.tables import printable

MOST_CHANGES = 12  # parameters or files that are named
MOST_SIDES = 5  # pictures of a model that are named in the terminal, each way
TERMINAL_COLUMNS = 100  # of the terminal
WIDEST_NAME = 11  # characters of a revision's name in a table


def render_text(base: Revision, comparisons: Sequence[Comparison], confidence: float) -> str:
    """All of it, for a terminal of 100 columns; only a path or a name may be wider."""
    remarks = [_wrap(f"warning: {text}") for text in remarks_of(base, comparisons)]
    sections = ["\n".join(remarks)] if remarks else []
    for one in comparisons:
        differing = [f"  {line}" for line in what_differs(one)]
        about = [*pictures_of(base, one), "What differs:", *differing]
        lines = [title(base, one), "", *map(_wrap, about), ""]
        for table in (accuracy_rows, log_loss_rows):
            lines += [markdown_table(*table(base, one), aligned=True), ""]
        for name, found in one.models.items():
            lines.append(_wrap(f"{name}: {verdict(found, confidence)}"))
        sections.append("\n".join([*lines, *map(_wrap, _side_lines(one))]))
    return "\n\n".join([*sections, "\n".join(map(_wrap, notes(comparisons, confidence)))])


def _wrap(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    if len(line) <= TERMINAL_COLUMNS:
        return line
    return textwrap.fill(
        line,
        TERMINAL_COLUMNS,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def title(base: Revision, one: Comparison) -> str:
    return printable(f"{one.revision} against {base}")


def pictures_of(base: Revision, one: Comparison) -> list[str]:
    """On which pictures the comparison is, and which it leaves out: a sentence each."""
    lines = [_shared_line("test pictures", one.test)]
    if one.crossval is not None:
        lines.append(_shared_line(f"pictures of stage {CROSSVAL}", one.crossval))
    elif bool(base.crossval) != bool(one.revision.crossval):
        having = base if base.crossval else one.revision
        lines.append(f"Only {having.name} has predictions of stage {CROSSVAL}: not compared.")
    if one.unpaired:
        lines.append(f"Only one of the two has the model {', '.join(one.unpaired)}: not compared.")
    return [printable(line) for line in lines]


def _shared_line(kind: str, shared: Shared) -> str:
    count = len(shared.paths)
    if shared.before == shared.after == count:
        parts = [f"Compared on the same {count:,} {kind}"]
    else:
        parts = [f"Compared on {count:,} of {shared.before:,} and {shared.after:,} {kind}"]
    if shared.reviewed:
        parts.append(
            f"{shared.reviewed:,} have another class in each, both are judged by the reviewed one"
        )
    if shared.without_loss:
        parts.append(
            f"{shared.without_loss:,} of these count for the accuracy alone, for what the models "
            "gave the reviewed class is not known"
        )
    if shared.other_bytes:
        parts.append(f"{shared.other_bytes:,} of the same name are other files, left out")
    if shared.other_labels:
        parts.append(
            f"{shared.other_labels:,} have another class in each, so that what is right is not "
            "agreed upon, left out"
        )
    alone = [n - count - shared.other_bytes - shared.other_labels for n in _sizes(shared)]
    if any(alone):
        parts.append(f"{alone[0]:,} and {alone[1]:,} are in one of the two only")
    return "; ".join(parts) + "."


def _sizes(shared: Shared) -> tuple[int, int]:
    return shared.before, shared.after


def what_differs(one: Comparison) -> list[str]:
    """Parameters, then other inputs: a line each."""
    lines = [f"{c.name}: {c.before} → {c.after}" for c in one.parameters[:MOST_CHANGES]]
    if (more := len(one.parameters) - MOST_CHANGES) > 0:
        lines.append(f"and {more} more parameters (all of them: --json)")
    if one.inputs:
        more = len(one.inputs) - MOST_CHANGES
        rest = f" and {more} more" if more > 0 else ""
        lines.append(f"other files: {', '.join(one.inputs[:MOST_CHANGES])}{rest}")
    return [printable(line) for line in lines] or ["no parameter, code or data"]


Rows = tuple[list[str], list[list[str]]]  # a header, and rows of cells


def accuracy_rows(base: Revision, one: Comparison) -> Rows:
    """The table of accuracies."""
    header = [
        *("Accuracy, %", short(base.name), short(one.revision.name), "Difference, points"),
        *("Gained", "Lost", "p"),
    ]
    return header, [
        [
            name,
            *(f"{100 * share:.2f}" for share in found.accuracies),
            "same"
            if found.same
            else f"{100 * found.accuracy:+.2f} ({_range(found.accuracy_interval, 100, 2)})",
            f"{found.mended:,}",
            f"{found.broken:,}",
            show_p(found.accuracy_holm),
        ]
        for name, found in one.models.items()
    ]


def log_loss_rows(base: Revision, one: Comparison) -> Rows:
    """The table of log losses."""
    header = [
        *("Log loss", short(base.name), short(one.revision.name), "Difference", "p"),
    ]
    return header, [
        [
            name,
            *(f"{loss:.4f}" for loss in found.log_losses),
            "same"
            if found.same
            else f"{found.log_loss:+.4f} ({_range(found.log_loss_interval, 1, 4)})",
            show_p(found.log_loss_holm),
        ]
        for name, found in one.models.items()
    ]


def short(name: str) -> str:
    """A name that fits a column.

    >>> short("feature/a-long-name")
    'feature/a-…'
    """
    name = printable(name)
    return name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…"


def _range(interval: tuple[float, float] | None, scale: int, decimals: int) -> str:
    if interval is None:
        return "n/a"
    return " to ".join(f"{scale * end:.{decimals}f}" for end in interval)


def show_p(p_value: float | None) -> str:
    if p_value is None:
        return "n/a"
    return f"{p_value:.4f}" if p_value >= 0.0001 else "< 0.0001"


def verdict(found: Difference, confidence: float) -> str:
    """Whether one model is better, and by how much: in accuracy, and in log loss.

    A difference is told where the p-value, Holm's if there are several revisions, is below
    1 - confidence.
    """
    if found.same:
        return "the same answers."
    points, interval = 100 * found.accuracy, _range(found.accuracy_interval, 100, 2)
    if _is_told(found.accuracy_holm, confidence):
        word = "better" if points > 0 else "worse"
        accuracy = f"{word} by {abs(points):.2f} points of accuracy ({_turned(found)})"
    else:
        accuracy = f"accuracy cannot be told apart ({points:+.2f} points, {interval})"
    loss, ends = found.log_loss, _range(found.log_loss_interval, 1, 4)
    if _is_told(found.log_loss_holm, confidence):
        word = "lower, better" if loss < 0 else "higher, worse"
        return f"{accuracy}; log loss is {word}: {loss:+.4f} ({ends})."
    return f"{accuracy}; log loss cannot be told apart ({loss:+.4f}, {ends})."


def _turned(found: Difference) -> str:
    """The interval of a difference that is told without its sign."""
    low, high = (100 * end for end in found.accuracy_interval)
    ends = (low, high) if found.accuracy > 0 else (-high, -low)
    return " to ".join(f"{end:.2f}" for end in ends)


def _is_told(p_value: float | None, confidence: float) -> bool:
    return p_value is not None and p_value < 1 - confidence


def counts_of(found: Difference) -> str:
    """How many pictures changed sides; empty if none did."""
    if not found.sides:
        return ""
    return f"{found.broken:,} right → wrong, {found.mended:,} wrong → right"


def side_words(side: Side) -> str:
    """What became of a picture: the answer, its probability, and what it was before."""
    before, after = side.before, side.after
    return printable(
        f"{after.actual}: was {before.predicted} {before.probability:.3f}, "
        f"now {after.predicted} {after.probability:.3f}"
    )


def _side_lines(one: Comparison) -> list[str]:
    lines = []
    for name, found in one.models.items():
        if not found.sides:
            continue
        lines += ["", f"{name}: {counts_of(found)}"]
        for mended, label in ((False, "right → wrong"), (True, "wrong → right")):
            sides = [side for side in found.sides if side.mended == mended]
            lines += [
                f"  {label}  {printable(s.after.path)}  {side_words(s)}" for s in sides[:MOST_SIDES]
            ]
            if (more := len(sides) - MOST_SIDES) > 0:
                lines.append(f"  {label}  and {more:,} more: --html shows them, --json has all")
    if not lines:
        lines += ["", "No picture changed sides."]
    return lines


def remarks_of(base: Revision, comparisons: Sequence[Comparison]) -> list[str]:
    """What is wrong with the revisions themselves."""
    found = [*base.remarks, *(text for one in comparisons for text in one.revision.remarks)]
    same = [
        f"{base.name} and {one.revision.name} are the same commit"
        for one in comparisons
        if base.commit and base.commit == one.revision.commit
    ]
    return [printable(text) for text in [*found, *same]]


def notes(comparisons: Sequence[Comparison], confidence: float) -> list[str]:
    """What a reader must know to weigh the figures: a few sentences each."""
    found = [
        f"In brackets: {100 * confidence:.6g} % intervals (accuracy: Bonett and Price; log loss: "
        "Student). They say how other pictures would fall out, not how another seed of the "
        "training would.",
        "Gained, lost: pictures that became right, or wrong. p: McNemar's exact test of the "
        "accuracy, Student's paired test of the log loss.",
    ]
    if len(comparisons) > 1:
        found.append(
            f"The best of {len(comparisons)} looks better than it is: p is raised by Holm's rule, "
            "for each model over those in which it differs; the intervals are not. Confirm it on "
            "pictures that had no say."
        )
    tables = [table for one in comparisons for table in (one.test, one.crossval) if table]
    if grouped := max(table.grouped for table in tables):
        found.append(
            f"{grouped:,} of the pictures are in one group with others, as copies or as they were "
            "named: intervals and tests are over groups there."
        )
    return found


def as_values(
    base: Revision, comparisons: Sequence[Comparison], confidence: float
) -> dict[str, Any]:
    """All of it for programs, fit for JSON."""
    return {
        "confidence": confidence,
        "base": {"name": base.name, "commit": base.commit},
        "remarks": remarks_of(base, comparisons),
        "comparisons": [
            {
                "name": one.revision.name,
                "commit": one.revision.commit,
                "test": _shared_values(one.test),
                "crossval": one.crossval and _shared_values(one.crossval),
                "parameters": {c.name: [c.before, c.after] for c in one.parameters},
                "inputs": list(one.inputs),
                "unpaired_models": list(one.unpaired),
                "models": {
                    name: _difference_values(m, confidence) for name, m in one.models.items()
                },
            }
            for one in comparisons
        ],
    }


def _shared_values(shared: Shared) -> dict[str, int]:
    return {
        "pictures": len(shared.paths),
        "before": shared.before,
        "after": shared.after,
        "other_files": shared.other_bytes,
        "other_classes": shared.other_labels,
        "reviewed": shared.reviewed,
        "without_log_loss": shared.without_loss,
        "grouped": shared.grouped,
    }


def _difference_values(found: Difference, confidence: float) -> dict[str, Any]:
    return {
        "pictures": found.pictures,
        "verdict": verdict(found, confidence),
        "accuracy": {
            "before": found.accuracies[0],
            "after": found.accuracies[1],
            "difference": found.accuracy,
            "interval": found.accuracy_interval,
            "now_right": found.mended,
            "now_wrong": found.broken,
            "p_value": found.accuracy_p,
            "p_value_holm": found.accuracy_holm,
        },
        "log_loss": {
            "before": found.log_losses[0],
            "after": found.log_losses[1],
            "difference": found.log_loss,
            "interval": found.log_loss_interval,
            "p_value": found.log_loss_p,
            "p_value_holm": found.log_loss_holm,
        },
        "changed_sides": [
            {
                "path": side.after.path,
                "actual": side.after.actual,
                "before": [side.before.predicted, side.before.probability],
                "after": [side.after.predicted, side.after.probability],
            }
            for side in found.sides
        ],
    }
