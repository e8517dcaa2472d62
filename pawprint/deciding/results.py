"""What stage deciding writes, and the report reads.

metrics/deciding.json            the figures by which one chooses
metrics/deciding/details.json    the same and more, for the report
metrics/deciding/service.json    what the card of the exported model says of deciding alone
metrics/deciding/curve.json      share decided and accuracy, of the accepted test pictures
metrics/deciding/accepted.csv    pictures of none of the classes that are accepted all the same
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawprint.deciding.coverage import coverage_curve
from pawprint.deciding.others import OtherPicture, read_pictures, write_accepted
from pawprint.deciding.outcome import Findings, Judgements
from pawprint.runner.files import atomic_directory
from pawprint.storage.tables import read_json, write_json

_SHOWN = (
    *("model", "rejected", "accuracy_accepted", "accuracy_rejected", "others", "roc_auc"),
    *("coverage", "conformal"),
)
_OF_COVERAGE = ("precision", "threshold", "share", "low", "high", "precision_found")


@dataclass(frozen=True)
class WhatIsDecided:
    """What the best model may decide alone.

    Attributes:
        figures: of ``metrics/deciding/details.json``.
        curve: see ``coverage_curve``.
        accepted: pictures of none of the classes, the most surely taken for one first.
    """

    figures: Mapping[str, Any]
    curve: Sequence[tuple[float, float]]
    accepted: Sequence[OtherPicture]


def write_findings(
    metrics: Path, found: Findings, test: Judgements, others: Sequence[OtherPicture]
) -> None:
    """Write all of it.

    Args:
        metrics: the directory.
        found: the figures.
        test: what the model says of the test split.
        others: pictures of none of the classes.
    """
    write_json(metrics / "deciding.json", shorten(found.figures))
    with atomic_directory(metrics / "deciding") as out:
        write_json(out / "details.json", found.figures)
        write_json(out / "service.json", found.service)
        write_json(out / "curve.json", coverage_curve(test.sure, test.right, test.accepted))
        write_accepted(out / "accepted.csv", others, test.unlike_above)


def shorten(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What DVC shows in a table: each figure is a column of it."""
    short = {key: figures[key] for key in _SHOWN}
    return {**short, "coverage": {key: figures["coverage"][key] for key in _OF_COVERAGE}}


def read_findings(metrics: Path) -> WhatIsDecided:
    """Read what the report shows."""
    return WhatIsDecided(
        read_json(metrics / "deciding/details.json"),
        [(share, accuracy) for share, accuracy in read_json(metrics / "deciding/curve.json")],
        read_pictures(metrics / "deciding/accepted.csv"),
    )
