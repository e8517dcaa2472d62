"""What stands on the page, put together from what the other modules made of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pawprint.data.decisions import Decisions
from pawprint.data.suspects import Suspects
from pawprint.deciding.coverage import cover
from pawprint.deciding.results import WhatIsDecided
from pawprint.deciding.words import say_coverage, say_drift, say_rejection, say_sets, say_together
from pawprint.evaluation.predictions import Prediction, sure_and_right
from pawprint.registry.models import ENSEMBLE, find_model
from pawprint.report import tables
from pawprint.report.advice import TOLD, Advice
from pawprint.report.card import Card, count_pictures, figures_by_class
from pawprint.report.doubts import ShownSuspect, count_open
from pawprint.report.errors import ShownError
from pawprint.report.others import ShownOther
from pawprint.report.run import Judged, RunPictures
from pawprint.report.shown import PER_CENT, counted, interval, level, percent
from pawprint.runner.params import ReportParams
from pawprint.storage.tables import printable

_FEW_CLASSES = 4  # whose confusion takes half of the page's width
_MOST_REMARKS = 5  # of the suspects, among the warnings
SAID = (say_coverage, say_rejection, say_sets, say_drift, say_together)
_SECTIONS = (
    ("data", "What went in"),
    ("models", "The models"),
    ("charts", "Learning and errors"),
    ("coverage", "Deciding alone"),
    ("crossval", "Cross-validation"),
    ("wrong", "Wrong pictures"),
    ("suspects", "Suspects"),
    ("next", "What to try next"),
    ("card", "Model card"),
)


@dataclass(frozen=True)
class Shown:
    """What of a run is shown as pictures.

    Attributes:
        errors: of the best model.
        suspects: the first of them.
        charts: name → SVG.
        full: whether there was no room for more pictures.
        others: pictures of none of the classes that the best model accepts.
    """

    errors: Sequence[ShownError]
    suspects: Sequence[ShownSuspect]
    charts: Mapping[str, str]
    full: bool
    others: Sequence[ShownOther]


@dataclass(frozen=True)
class Doubts:
    """What is known of single pictures.

    Attributes:
        suspects: all of them, and remarks on the whole data set.
        decisions: of the file, as it is now.
        file: its name.
        values: of ``doubts.decision_values``.
    """

    suspects: Suspects
    decisions: Decisions
    file: str
    values: Mapping[str, Any]


def fill_page(
    data: RunPictures,
    judged: Judged,
    doubts: Doubts,
    shown: Shown,
    advice: Sequence[Advice],
    card: Card,
    config: ReportParams,
    remarks: Sequence[str],
    decided: WhatIsDecided,
) -> dict[str, Any]:
    """The values that the page's template names.

    Args:
        data, judged, doubts, shown: the run.
        advice: what to try next.
        card: of the exported model.
        config: thresholds and words.
        remarks: on the members of an ensemble.
        decided: what the best model may decide alone.
    """
    found, best = judged.details, find_model(judged.best)
    said = judged.predictions[judged.best].values()
    covered = cover(*sure_and_right(said), config.thresholds, found["confidence"])
    by_class = figures_by_class(judged.best, found)
    counts = count_pictures(data)
    return {
        "title": printable(config.name) or _title(data.class_names),
        "lede": _lede(judged),
        "facts": _facts(data, judged, said, count_open(doubts.suspects, doubts.decisions), decided),
        "warnings": _warnings(data, judged, doubts.suspects, remarks),
        "contents": _SECTIONS,
        "counts": counts,
        "no_test": _untested(judged),
        "repeated": tables.repeated_pictures(data.summary),
        "leaks": list(map(printable, data.leaks)),
        "quarantined": tables.quarantined_pictures(data),
        "decided": tables.decided_pictures(data),
        "decisions_file": printable(doubts.file),
        "best": judged.best,
        "best_title": best.title if best else judged.best,
        "no_ensemble": ENSEMBLE.name not in found["models"],
        "tta": found["tta"],
        "compared": tables.compared_models(judged),
        "paired": tables.paired_tests(judged, TOLD),
        "told": TOLD,
        "unseen": tables.scores_without_leak(judged),
        "reviewed": tables.scores_before_review(judged),
        "by_class": by_class,
        "confidence": level(found["confidence"]),
        "charts": shown.charts,
        "many_classes": len(data.class_names) > _FEW_CLASSES,
        "covered": tables.covered_pictures(covered, judged.best, found["confidence"]),
        "deciding": [*filter(None, (say(decided.figures) for say in SAID))],
        "tells_unlike": decided.figures["rejected"] is not None,
        "accepted_others": tables.accepted_others(decided.figures, found["confidence"]),
        "others": shown.others,
        "accepted_count": len(decided.accepted),
        "crossval": judged.crossval,
        "crossval_figures": tables.crossval_figures(judged.crossval),
        "wrong_count": _count_wrong(said),
        "test_count": len(said),
        "errors": shown.errors,
        "any_overlay": any(one.overlay for one in shown.errors),
        "full": shown.full,
        "suspects": shown.suspects,
        "suspect_count": len(doubts.suspects.suspects),
        "decision_count": len(doubts.decisions),
        "decision_values": doubts.values,
        "advice": advice,
        "card": card,
        "card_of": judged.exported["model"],
        "license": config.license,
        "shown_above": {counts.caption, by_class.caption},
    }


def _untested(judged: Judged) -> list[str]:
    """Classes without a test picture that could be read."""
    classes = judged.details["models"][judged.best]["report"]["classes"]
    return [printable(name) for name, scores in classes.items() if not scores["support"]]


def _title(class_names: Sequence[str]) -> str:
    if len(class_names) == 2:
        return " or ".join(map(printable, class_names))
    return f"Pictures of {len(class_names):,} classes"


def _count_wrong(said: Collection[Prediction]) -> int:
    return sum(not one.correct for one in said)


def _lede(judged: Judged) -> str:
    scores = judged.details["models"][judged.best]["metrics"]
    low, high = scores["accuracy_low"], scores["accuracy_high"]
    return (
        f"The best model, {judged.best}, has {percent(scores['accuracy'])} of "
        f"{counted(judged.details['pictures'], 'test picture', 'test pictures')} right. On other "
        f"pictures of the same kind it should be within {interval(low, high)}{PER_CENT} "
        f"({level(judged.details['confidence'])} interval)."
    )


def _facts(
    data: RunPictures,
    judged: Judged,
    said: Collection[Prediction],
    doubted: int,
    decided: WhatIsDecided,
) -> list[tuple[str, str]]:
    accuracy = judged.details["models"][judged.best]["metrics"]["accuracy"]
    return [
        (percent(accuracy), f"of the test pictures right, {judged.best}"),
        (f"{_count_wrong(said):,}", f"wrong, of {len(said):,}"),
        *_fact_of_coverage(decided.figures["coverage"]),
        (f"{len(data.pictures):,}", f"pictures of {len(data.class_names):,} classes"),
        (f"{doubted:,}", "suspects not decided yet"),
    ]


def _fact_of_coverage(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if found["threshold"] is None:
        return []
    return [(percent(found["share"], 1), f"decided alone at {level(found['precision'])} precision")]


def _warnings(
    data: RunPictures, judged: Judged, suspects: Suspects, remarks: Sequence[str]
) -> list[str]:
    found = [f"{printable(leak)}." for leak in data.leaks]
    kinds = [f"{printable(remark)}. {_SHORTCUT}" for remark in suspects.remarks]
    found += kinds[:_MOST_REMARKS]
    if len(kinds) > _MOST_REMARKS:
        found.append(f"{len(kinds) - _MOST_REMARKS} more of these stand in suspects.csv.")
    found += map(printable, remarks)
    if judged.exported["model"] != judged.best:
        found.append(
            f"The exported model is {judged.exported['model']}, not {judged.best}, the best one on "
            "validation; export.model says so."
        )
    if suspects.unknown:
        found.append(
            f"{counted(suspects.unknown, 'row', 'rows')} of suspects.csv are of pictures that are "
            "not there any more, and are left out."
        )
    return found


_SHORTCUT = "A model may have learned this instead of what the pictures show."
