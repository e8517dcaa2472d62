"""A small run as the stages write it, without a network: what the report reads."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pawprint.data.labels import write_labels
from pawprint.data.manifest import Picture, leaked_pictures, summarize, write_manifest
from pawprint.deciding.others import OtherPicture, group_unlikeness
from pawprint.deciding.outcome import Judgements, judge
from pawprint.deciding.results import write_findings
from pawprint.evaluation.results import write_charts, write_metrics
from pawprint.registry.models import TRAINED
from pawprint.runner.params_file import load_params
from pawprint.storage.shards import shard_name, write_shard
from pawprint.storage.tables import write_csv, write_json

ROOT = Path(__file__).resolve().parent.parent
HEADER_OF_SUSPECTS = ("rank", "path", "split", "label", "suggested", "why", "score")
SIDE_PX = 24


@dataclass
class SmallRun:
    """What a test may ask of a run; the rest is the same for all.

    Attributes:
        root: the project's directory.
        class_names: of the pictures, sorted.
        counts: pictures of each class in train, val and test.
        wrong: how many test pictures the best model, ``finetuned``, has wrong: the first ones.
        suffix: of each picture's name.
        suspects: rows of suspects.csv behind the rank.
        overlays: whether stage gradcam made heatmaps of the worst two.
        tta: as of ``evaluate.tta``.
        others: pictures of no class: the first are accepted, from the fourth on rejected.
    """

    root: Path
    class_names: Sequence[str] = ("cat", "dog")
    counts: Sequence[int] = (6, 3, 4)
    wrong: int = 2
    suffix: str = ".jpg"
    suspects: Sequence[Sequence[object]] | None = ()
    overlays: bool = True
    tta: int = 1
    others: int = 0
    pictures: list[Picture] = field(default_factory=list)

    def write(self) -> SmallRun:
        """Write all files; a picture's SHA-256 is that of its path."""
        for name in ("data/processed", "data/report", "metrics", "models/export", "plots/gradcam"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(ROOT / "params.yaml", self.root)
        (self.root / "data/decisions.csv").write_text("sha256,decision,label,who,why\n")
        self._write_pictures()
        self._write_judgement()
        self._write_rest()
        if self.suspects is not None:
            self.write_suspects(self.suspects)
        return self

    def of(self, split: str) -> list[Picture]:
        return [picture for picture in self.pictures if picture.split == split]

    def _write_pictures(self) -> None:
        for class_name in self.class_names:
            for split, count in zip(("train", "val", "test"), self.counts, strict=True):
                for i in range(count):
                    path = f"{class_name}/{split}.{i}{self.suffix}"
                    digest = hashlib.sha256(path.encode()).hexdigest()
                    self.pictures.append(Picture(path, class_name, split, digest, digest[:16]))
        write_manifest(self.root / "data/split.csv", self.pictures)
        write_json(self.root / "metrics/data.json", summarize(self.pictures))
        processed, rng = self.root / "data/processed", np.random.default_rng(0)
        write_json(processed / "classes.json", list(self.class_names))
        write_csv(processed / "quarantine.csv", ("path", "class", "split", "reason"), [])
        for split in ("train", "val", "test"):
            (processed / split).mkdir()
            mine = self.of(split)
            labels = (self.class_names.index(p.class_name) for p in mine)
            rows = [(p.path, p.class_name, label) for p, label in zip(mine, labels, strict=True)]
            write_labels(processed, split, rows)
            pixels = rng.integers(0, 255, (len(mine), SIDE_PX, SIDE_PX, 3), np.uint8)
            write_shard(processed / split / shard_name(0), pixels)

    def _write_judgement(self) -> None:
        test, size = self.of("test"), len(self.class_names)
        y_true = np.array([self.class_names.index(p.class_name) for p in test], np.int64)
        predictions = {}
        for model, wrong in zip(TRAINED, (self.wrong + 2, self.wrong + 1, self.wrong), strict=True):
            said = (y_true + (np.arange(len(y_true)) < wrong)) % size
            sure = np.linspace(0.99, 0.6, len(y_true), dtype=np.float32)
            probs = np.repeat((1 - sure[:, None]) / (size - 1), size, axis=1)
            probs[np.arange(len(y_true)), said] = sure
            predictions[model.name] = probs
        losses = {model.name: 0.3 - 0.1 * place for place, model in enumerate(TRAINED)}
        config = load_params(self.root / "params.yaml").evaluate.model_copy(
            update={"tta": self.tta}
        )
        names, leaked = list(self.class_names), leaked_pictures(self.pictures, "test", ("train",))
        write_metrics(
            *(self.root / "metrics", [p.path for p in test], y_true, predictions, names),
            *(losses, config, leaked, [], y_true),
        )
        write_charts(self.root / "plots/evaluate", y_true, predictions, names, 15)
        self._write_deciding(predictions[TRAINED[-1].name], y_true, [p.path for p in test])
        for model in TRAINED:
            figures = {"best_epoch": 2, "val_log_loss": losses[model.name]}
            write_json(self.root / model.figures, figures)
            self._write_history(model.stage)
        for name in (f"worst_{i:02d}" for i in range(1, 3 * self.overlays)):
            image = Image.new("RGB", (2 * SIDE_PX, SIDE_PX + 20), "white")
            image.save(self.root / f"plots/gradcam/finetuned_{name}.png")

    def _write_deciding(self, probs: np.ndarray, labels: np.ndarray, paths: list[str]) -> None:
        """As stage deciding, with the test pictures for validation, too."""
        ratios = np.linspace(0.1, 1.2, len(paths), dtype=np.float32)
        said = Judgements(paths, paths, probs, labels, ratios, 1.0)
        others = [
            OtherPicture("rooms", f"{self.root}/others/{i}.png", "cat", 0.9, 0.8 + 0.1 * i)
            for i in range(self.others)
        ]
        params = load_params(self.root / "params.yaml")
        found = judge(
            *(TRAINED[-1].name, said, said, group_unlikeness(others), 0.01),
            *(params.deciding, params.evaluate.confidence),
        )
        write_findings(self.root / "metrics", found, said, others)

    def _write_history(self, stage: str) -> None:
        logged = self.root / "plots" / stage / "plots/metrics"
        kinds = {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/log_loss"}
        for kind in kinds:
            (logged / kind).parent.mkdir(parents=True, exist_ok=True)
            name = kind.partition("/")[2]
            (logged / f"{kind}.tsv").write_text(f"step\t{name}\n0\t0.5\n1\t0.4\n2\t0.45\n")

    def _write_rest(self) -> None:
        metrics = self.root / "metrics"
        (metrics / "crossval").mkdir()
        scores: dict[str, Any] = {"pictures": 18, "folds": 3}
        for name, value in (("accuracy", 0.9), ("log_loss", 0.25)):
            bounds = [value - 0.1, value + 0.05]
            scores |= {name: value, f"{name}_interval": bounds, f"{name}_on_test": bounds}
        write_json(metrics / "crossval/details.json", scores)
        write_json(metrics / "export.json", {"model": "finetuned", "keras": {}, "onnx": {}})
        write_json(metrics / "ensemble.json", {})
        write_json(metrics / "machine.json", ["results: 0123", "system: Linux x86_64"])
        card = {
            "image_size": SIDE_PX,
            "hashes": {"models/finetuned.keras": "0c76", "data/split.csv": "0b73"},
            "files": {"model.onnx": "5e1f"},
        }
        write_json(self.root / "models/export/model.json", card)

    def write_suspects(self, suspects: Sequence[Sequence[object]]) -> None:
        rows = [(rank, *row) for rank, row in enumerate(suspects, 1)]
        write_csv(self.root / "metrics/suspects.csv", HEADER_OF_SUSPECTS, rows)
        paths = [row[0] for row in suspects if row[0]]
        near = [(path, self.pictures[0].path, 0.5) for path in paths]
        said = [(path, name, 0.5) for path in paths for name in self.class_names[:2]]
        directory = self.root / "metrics/suspects"
        write_csv(directory / "neighbours.csv", ("path", "neighbour", "similarity"), near)
        write_csv(directory / "probabilities.csv", ("path", "class", "probability"), said)


def doubt(picture: Picture, suggested: str = "", why: str = "label: 0.9") -> tuple[object, ...]:
    """A row of suspects.csv behind its rank."""
    return (picture.path, picture.split, picture.class_name, suggested, why, 0.9)
