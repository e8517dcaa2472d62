"""What the stages of a run wrote, read for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pawprint.data.datasets import read_class_names
from pawprint.data.decisions import Decisions, Verdict
from pawprint.data.manifest import Picture, describe_leaks, read_manifest
from pawprint.evaluation.metrics import Row
from pawprint.evaluation.predictions import Predictions, read_predictions
from pawprint.evaluation.results import read_history
from pawprint.registry.models import MODELS, Model, find_best
from pawprint.storage.tables import read_csv, read_json


@dataclass(frozen=True)
class RunPictures:
    """The pictures of a run.

    Attributes:
        pictures: of the manifest, in its order.
        class_names: a class's place is its label.
        summary: of ``metrics/data.json``.
        quarantined: reason → pictures that could not be read.
        leaks: a sentence for each kind of leak between the splits.
        decided: verdict → pictures on which a person has decided; empty if none were.
    """

    pictures: Sequence[Picture]
    class_names: list[str]
    summary: Mapping[str, int]
    quarantined: Mapping[str, int]
    leaks: Sequence[str]
    decided: Mapping[str, int]

    def count(self, split: str, class_name: str | None = None) -> int:
        """Pictures of a split, of one class or of all."""
        return sum(p.split == split and class_name in (None, p.class_name) for p in self.pictures)


@dataclass(frozen=True)
class Judged:
    """What evaluation says of the models of a run.

    Attributes:
        models: in the order of display.
        details: of ``metrics/evaluate/details.json``.
        predictions: model → path → what it said of a test picture.
        trainings: model → figures of its training, with its validation log loss.
        histories: stage → rows of its training's curves.
        roc: model → points of its ROC curve.
        crossval: of ``metrics/crossval/details.json``.
        exported: of ``metrics/export.json``.
        machine: "name: value" of what made the results.
    """

    models: Sequence[Model]
    details: Mapping[str, Any]
    predictions: Predictions
    trainings: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, Sequence[Row]]
    roc: Mapping[str, list[Row]]
    crossval: Mapping[str, Any]
    exported: Mapping[str, Any]
    machine: Sequence[str]

    @property
    def best(self) -> str:
        """The model with the lowest log loss on validation."""
        return find_best({name: found["val_log_loss"] for name, found in self.trainings.items()})


def read_run_pictures(
    manifest: Path, processed: Path, summary: Path, decisions: Decisions
) -> RunPictures:
    """Read what stages split and preprocess wrote.

    Args:
        manifest: such as ``data/split.csv``.
        processed: such as ``data/processed``.
        summary: such as ``metrics/data.json``.
        decisions: that stage split has followed.
    """
    pictures, counts = read_manifest(manifest), read_json(summary)
    reasons = Counter(row["reason"] for row in read_csv(processed / "quarantine.csv"))
    kept = [p for p in pictures if p.sha256 in decisions and p.class_name == p.source_class]
    decided = {
        Verdict.RELABEL.value: counts.get("relabelled", 0),
        Verdict.DROP.value: counts.get("dropped", 0),
        Verdict.KEEP.value: len(kept),
    }
    return RunPictures(
        pictures,
        read_class_names(processed),
        counts,
        dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        describe_leaks(pictures),
        decided if any(decided.values()) else {},
    )


def read_judged(metrics: Path, plots: Path, root: Path) -> Judged:
    """Read what the trainings, crossval, evaluate and export wrote.

    Args:
        metrics: such as ``metrics``.
        plots: such as ``plots``.
        root: of the project, for the models' figures.

    Raises:
        DataError: the predictions are no such table.
    """
    details = read_json(metrics / "evaluate/details.json")
    models = [model for model in MODELS if model.name in details["models"]]
    logged = {model.stage: read_history(plots / model.stage) for model in models}
    return Judged(
        models,
        details,
        read_predictions(metrics / "evaluate/predictions.csv"),
        {model.name: read_json(root / model.figures) for model in models},
        {stage: rows for stage, rows in logged.items() if rows},
        {model.name: read_json(plots / "evaluate/roc" / f"{model.name}.json") for model in models},
        read_json(metrics / "crossval/details.json"),
        read_json(metrics / "export.json"),
        read_json(metrics / "machine.json"),
    )
