"""A study's results in Markdown and as JSON values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pawprint.evaluation.markdown import markdown_table
from pawprint.runner.times import StageTime
from studies.scores import Against, Interval, Judged, Judgement, Score
from studies.study_file import Row, Study

_HEADER = (
    *("row", "accuracy %", "interval", "points from first", "only first / only this", "p (Holm)"),
    *("log loss", "interval", "log loss from first", "validation log loss", "CPU-seconds (clock)"),
)


@dataclass(frozen=True)
class Reported:
    """A row that has results.

    Attributes:
        row: of the study.
        judged: its scores.
        val_log_losses: of each seed, as its training wrote them.
        times: of each seed: what the stages of the judged model took; None: not known.
    """

    row: Row
    judged: Judged
    val_log_losses: tuple[float, ...]
    times: tuple[Sequence[StageTime] | None, ...]

    @property
    def seconds(self) -> float | None:
        """By the clock, the median over the seeds; None where one is not known."""
        return self._median([_sum(each, "seconds") for each in self.times])

    @property
    def cpu_seconds(self) -> float | None:
        return self._median([_sum(each, "cpu_seconds") for each in self.times])

    @property
    def is_part(self) -> bool:
        """Whether a stage went on after a stop, so that its time is not all of it."""
        return any(one.resumed for each in self.times for one in each or ())

    def _median(self, values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.median(known) if len(known) == len(values) else None


@dataclass(frozen=True)
class Report:
    """All that is told of a study.

    Attributes:
        study: what was run.
        data: the pictures' name and number.
        machine: processor and cores.
        judgement: of the rows that have results.
        rows: these rows, in the same order.
        failed: name of a row → why it has none.
        confidence: of the intervals.
    """

    study: Study
    data: str
    machine: str
    judgement: Judgement
    rows: tuple[Reported, ...]
    failed: Mapping[str, str]
    confidence: float


def render_report(report: Report, picture: str) -> str:
    """The whole page in Markdown.

    Args:
        report: what is told.
        picture: name of the PNG beside it.
    """
    study, judgement = report.study, report.judgement
    seeds = len(study.seeds)
    lines = [f"# Study {study.name}", "", f"{study.about}.", ""]
    lines += [f"Data: {report.data}, {judgement.pictures:,} test pictures judged.", ""]
    if study.settings:
        shown = ", ".join(f"`{key}={value}`" for key, value in study.settings.items())
        lines += [f"Changed for all rows: {shown}.", ""]
    lines += [markdown_table(_HEADER, [_cells(row, seeds) for row in report.rows], aligned=True)]
    lines += ["", f"![{study.name}]({picture})", ""]
    lines += [f"- {text}" for text in _notes(report)]
    left = [*((row.name, row.missing) for row in study.left_out), *report.failed.items()]
    if left:
        lines += ["", "Rows without results:", ""]
        lines += [f"- {name}: {reason}" for name, reason in left]
    lines += ["", "What each row has other than `params.yaml`:", ""]
    lines += [markdown_table(("row", "model", "values"), map(_settings, study.rows))]
    return "\n".join(lines) + "\n"


def _notes(report: Report) -> list[str]:
    judgement, seeds = report.judgement, len(report.study.seeds)
    first = report.rows[0].row.name
    level = f"{100 * report.confidence:g} %"
    notes = [
        "These are figures of the test split, for all rows. Who chooses a row by them has no "
        "unused pictures left to judge it on: choose by the validation log loss.",
        f"Intervals are {level}, over pictures: how far the score may be on other pictures of this "
        "kind, with these trained models. Differences are of the same pictures, this row minus "
        f"`{first}`, in points of accuracy.",
        f"`only first / only this`: pictures that `{first}` alone has right, and that this row "
        "alone has right; p is McNemar's exact test of these two numbers, in brackets raised by "
        "Holm's rule for the number of rows.",
        "CPU-seconds: of all cores together, in brackets seconds by the clock, of the stages that "
        "make the judged model from the decoded pictures (features, train_head, finetune); a stage "
        "that rows share counts in each. What else the machine did meanwhile makes those by the "
        f"clock longer. {report.machine}.",
    ]
    if (wanted := report.study.rows[0].name) != first:
        notes.insert(
            0,
            f"**`{wanted}`, the first row, has no results: the others are compared with "
            f"`{first}`.**",
        )
    if seeds > 1:
        notes.insert(
            1,
            f"Scores are medians of {seeds} seeds (lowest to highest); intervals and differences "
            "are of the means over the seeds. A picture counts as right in McNemar's test if most "
            "seeds have it right.",
        )
    if judgement.grouped:
        notes.append(
            f"{judgement.grouped} pictures belong together with others: intervals and tests are "
            "over groups there."
        )
    if judgement.dropped:
        notes.append(f"{judgement.dropped} pictures that only some rows could read are left out.")
    if any(row.is_part for row in report.rows):
        notes.append("≥: a stage was stopped and went on; the time before is not counted.")
    if any(row.seconds is None for row in report.rows):
        notes.append("-: some of these stages were in DVC's cache before this study.")
    return notes


def _cells(row: Reported, seeds: int) -> list[str]:
    judged, against = row.judged, row.judged.against
    accuracy, loss = judged.accuracy, judged.log_loss
    val = statistics.median(row.val_log_losses)
    part = "≥ " if row.is_part else ""
    seconds, cpu = row.seconds, row.cpu_seconds
    return [
        row.row.name,
        _with_spread(accuracy, 100, 2, seeds),
        _interval(accuracy.interval, 100, 2),
        *_against(against),
        _with_spread(loss, 1, 4, seeds),
        _interval(loss.interval, 1, 4),
        "" if against is None else _difference(against.log_loss, against.log_loss_interval, 1, 4),
        f"{val:.4f}",
        "-" if seconds is None or cpu is None else f"{part}{cpu:.0f} ({seconds:.0f})",
    ]


def _against(against: Against | None) -> tuple[str, str, str]:
    if against is None:
        return "", "", ""
    return (
        _difference(against.accuracy, against.accuracy_interval, 100, 2),
        f"{against.only_first} / {against.only_this}",
        f"{_p(against.p_value)} ({_p(against.p_holm)})",
    )


def _difference(value: float, interval: Interval | None, scale: float, digits: int) -> str:
    shown = f"{scale * value:+.{digits}f}"
    if interval is None:
        return shown
    low, high = (f"{scale * end:+.{digits}f}" for end in interval)
    return f"{shown} ({low} to {high})"


def _interval(interval: Interval, scale: float, digits: int) -> str:
    return " to ".join(f"{scale * end:.{digits}f}" for end in interval)


def _with_spread(score: Score, scale: float, digits: int, seeds: int) -> str:
    shown = f"{scale * score.median:.{digits}f}"
    if seeds < 2:
        return shown
    return f"{shown} ({_interval((min(score.seeds), max(score.seeds)), scale, digits)})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _settings(row: Row) -> list[str]:
    """The values of its first run."""
    values = row.runs[0].values.items()
    return [row.name, row.model, ", ".join(f"`{key}={value}`" for key, value in values)]


def as_values(report: Report) -> dict[str, Any]:
    """The same as JSON values."""
    judgement = report.judgement
    return {
        "study": report.study.name,
        "about": report.study.about,
        "data": report.data,
        "machine": report.machine,
        "settings": dict(report.study.settings),
        "seeds": list(report.study.seeds),
        "confidence": report.confidence,
        "pictures": judgement.pictures,
        "left_out_pictures": judgement.dropped,
        "pictures_in_groups": judgement.grouped,
        "rows": [_row_values(row) for row in report.rows],
        "without_results": {
            **{row.name: row.missing for row in report.study.left_out},
            **report.failed,
        },
    }


def _row_values(row: Reported) -> dict[str, Any]:
    against = row.judged.against
    return {
        "name": row.row.name,
        "model": row.row.model,
        "experiments": [run.experiment for run in row.row.runs],
        "values": dict(row.row.runs[0].values),
        "accuracy": _score_values(row.judged.accuracy),
        "log_loss": _score_values(row.judged.log_loss),
        "val_log_losses": [_rounded(value) for value in row.val_log_losses],
        "against_first": against and _against_values(against),
        "seconds": _rounded(row.seconds, 1),
        "cpu_seconds": _rounded(row.cpu_seconds, 1),
        "stages": [
            times and {t.stage: [round(t.seconds, 1), round(t.cpu_seconds, 1)] for t in times}
            for times in row.times
        ],
        "time_is_part": row.is_part,
    }


def _score_values(score: Score) -> dict[str, Any]:
    return {
        "seeds": [_rounded(value) for value in score.seeds],
        "median": _rounded(score.median),
        "mean": _rounded(score.mean),
        "interval": [_rounded(value) for value in score.interval],
    }


def _against_values(against: Against) -> dict[str, Any]:
    losses = against.log_loss_interval
    return {
        "accuracy": _rounded(against.accuracy),
        "accuracy_interval": [_rounded(value) for value in against.accuracy_interval],
        "log_loss": _rounded(against.log_loss),
        "log_loss_interval": losses and [_rounded(value) for value in losses],
        "only_first": against.only_first,
        "only_this": against.only_this,
        "p_value": against.p_value,
        "p_holm": against.p_holm,
    }


def _rounded(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(float(value), digits)


def _sum(times: Sequence[StageTime] | None, key: str) -> float | None:
    return None if times is None else sum(float(getattr(each, key)) for each in times)
