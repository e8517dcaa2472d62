"""A ranking as a table, sentences and values; all of its lines have at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pawprint.choosing.scores import PairedMean
from pawprint.ranking.candidates import Candidate
from pawprint.ranking.comparison import Ranked, RankingOfCandidates
from pawprint.ranking.costs import Cost

MOST_COLUMNS = 100
_HEADER = ("", "log loss", "accuracy %", "behind the best", "ms", "MB", "model MB")
_WIDTHS = (22, 15, 13, 15, 7, 6, 8)

Costs = Mapping[Candidate, Cost]


def render_ranking(found: RankingOfCandidates, costs: Costs, cores: int) -> str:
    """What to tell the user, without a line break at the end.

    Args:
        found: the candidates, ranked.
        costs: of each.
        cores: on which their time was measured.
    """
    lines = [_line(_HEADER), *(_line(_cells(each, costs)) for each in found.ranked), ""]
    lines += _wrap(
        f"Log loss and accuracy are of {found.pictures} pictures of train and val, each judged by "
        "a head that has not seen it; ± is their standard error. Behind the best: by how much "
        "the log loss of the same pictures is above the lowest; ± is half of its "
        f"{_per_cent(found.confidence)} % interval. ms: of the frozen network for a picture, on "
        f"{cores} cores, without decoding; MB: a picture's pixels and features on disk, and the "
        "frozen network."
    )
    lines += [line for text in _remarks(found) for line in _wrap(text)]
    if len(found.ranked) > 1:
        lines += ["", *_wrap(_introduce(found))]
        others = (each for each in found.ranked if each.candidate != found.reference)
        for each in others:
            lines += _wrap(f"  {describe_candidate(each, _times(each, found, costs))}", "    ")
        lines += ["", *_wrap(_warn_of_luck(len(found.ranked)))]
    return "\n".join(lines)


def describe_candidate(found: Ranked, times: float) -> str:
    """A sentence on a candidate, against the reference.

    Args:
        found: the candidate.
        times: its cost, as a multiple of the reference's.
    """
    loss, accuracy = found.from_reference, found.from_reference_accuracy
    word = "better" if loss.mean < 0 else "worse"
    shown = f"{abs(loss.mean):.4f} ± {loss.half:.4f} {word}"
    verdict = shown if loss.is_told else f"cannot be told apart ({shown})"
    return f"{found.candidate}: {verdict}, {_points(accuracy)}, {times:.2g} times the cost"


def _points(accuracy: PairedMean) -> str:
    word = "lower" if accuracy.mean < 0 else "higher"
    return f"accuracy {abs(100 * accuracy.mean):.2f} ± {100 * accuracy.half:.2f} points {word}"


def _introduce(found: RankingOfCandidates) -> str:
    which = "the current one" if found.reference.current else "the best one"
    return (
        f"Against {found.reference}, {which}, by log loss (± is half of the "
        f"{_per_cent(found.confidence)} % interval; the cost is the time):"
    )


def _warn_of_luck(count: int) -> str:
    return (
        f"The best of {count} looks a little better than it is, as the same pictures chose it; the "
        "test split was not read."
    )


def _remarks(found: RankingOfCandidates) -> list[str]:
    remarks = []
    if found.dropped:
        remarks.append(
            f"warning: {found.dropped} pictures that only some of the candidates could read are "
            "left out"
        )
    if found.moved:
        remarks.append(
            f"warning: {found.moved} pictures are in other folds for some of the candidates, as "
            "these have other pictures: their differences are less sure"
        )
    return remarks


def tell_next_step(found: RankingOfCandidates, current: Mapping[str, str]) -> str:
    """How the user takes the best candidate.

    Args:
        found: the candidates, ranked.
        current: keys of params.yaml, and their values now.
    """
    best = found.ranked[0].candidate
    if best.current:
        return f"The current one, {best}, is the best of them."
    first = found.ranked[0]
    compared = found.reference.current and not first.from_reference.is_told
    doubt = "The best one cannot be told apart from the current one. " if compared else ""
    keys = [f"-S {key}={value}" for key, value in best.changes.items() if current[key] != value]
    return "\n".join(
        _wrap(
            f"{doubt}To take {best}: `dvc exp run {' '.join(keys)}`; what was computed here comes "
            f"from the cache. As an experiment it is {best.experiment}."
        )
    )


def table_of(found: RankingOfCandidates, costs: Costs) -> tuple[list[str], list[list[Any]]]:
    """A header and a row for each candidate, the best one first."""
    values = [_values(each, found, costs) for each in found.ranked]
    return list(values[0]), [list(row.values()) for row in values]


def as_values(found: RankingOfCandidates, costs: Costs) -> dict[str, Any]:
    """The same as JSON values, with what they have in common."""
    return {
        "pictures": found.pictures,
        "left_out": found.dropped,
        "in_other_folds": found.moved,
        "confidence": found.confidence,
        "reference": str(found.reference),
        "candidates": [_values(each, found, costs) for each in found.ranked],
    }


def _values(found: Ranked, ranking: RankingOfCandidates, costs: Costs) -> dict[str, Any]:
    candidate, cost = found.candidate, costs[found.candidate]
    return {
        "backbone": candidate.backbone,
        "image_size": candidate.size_px,
        "cut": candidate.cut,
        "current": candidate.current,
        "experiment": candidate.experiment,
        **{
            name: round(getattr(found, name), 6)
            for name in ("log_loss", "log_loss_se", "accuracy", "accuracy_se")
        },
        "behind_best": round(found.behind_best.mean, 6),
        "behind_best_half": round(found.behind_best.half, 6),
        "behind_best_accuracy": round(found.behind_best_accuracy.mean, 6),
        "behind_best_accuracy_half": round(found.behind_best_accuracy.half, 6),
        "ms_per_picture": round(1000 * cost.seconds, 4),
        "bytes_per_picture": round(cost.picture_bytes),
        "model_bytes": cost.model_bytes,
        "times_the_cost": round(_times(found, ranking, costs), 4),
    }


def _times(found: Ranked, ranking: RankingOfCandidates, costs: Costs) -> float:
    return costs[found.candidate].seconds / costs[ranking.reference].seconds


def _cells(found: Ranked, costs: Costs) -> tuple[str, ...]:
    cost, behind = costs[found.candidate], found.behind_best
    return (
        f"{found.candidate.backbone}@{found.candidate.size_px}",
        f"{found.log_loss:.4f} ± {found.log_loss_se:.4f}",
        f"{100 * found.accuracy:.2f} ± {100 * found.accuracy_se:.2f}",
        f"{behind.mean:.4f} ± {behind.half:.4f}" if behind.mean or behind.half else "the best",
        f"{1000 * cost.seconds:.2f}",
        f"{cost.picture_bytes / 1e6:.3f}",
        f"{cost.model_bytes / 1e6:.1f}",
    )


def _line(cells: Sequence[str]) -> str:
    first, *others = (
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    return "  ".join([first, *others])


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, MOST_COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def _per_cent(share: float) -> str:
    return f"{100 * share:g}"
