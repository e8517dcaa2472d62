"""From models to an ensemble: what each says of validation, which join, the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pawprint.ensembles.joining import JoinedModel, join_models
from pawprint.ensembles.library import LibraryModel
from pawprint.ensembles.selection import choose_members, mean_loss
from pawprint.evaluation.metrics import Array
from pawprint.networks.architectures import FEATURE_MAP, LOGITS, PROBS
from pawprint.networks.model_files import ModelInfo, check_classes, load_model, open_model
from pawprint.networks.predictor import build_predictor, predict_all
from pawprint.runner.errors import ModelError
from pawprint.storage.shards import ShardedArray


@dataclass(frozen=True)
class Ensemble:
    """Models that were joined.

    Attributes:
        model: pixels → probabilities.
        summary: what was chosen, fit for JSON: ``members``, name → share; ``candidates``, name →
            validation log loss; ``remarks``, what to know of the members.
    """

    model: keras.Model
    summary: dict[str, Any]

    def describe(self, figures: dict[str, float], metrics: Path) -> str:
        """Lines for the user.

        Args:
            figures: of the saved model, see ``measure``.
            metrics: the file that holds them.
        """
        losses, shares = self.summary["candidates"], self.summary["members"]
        parts = " + ".join(f"{share:.2f} {name}" for name, share in shares.items())
        best = min(losses, key=lambda name: losses[name])
        alone = ": no mean of several has a lower one" if len(shares) == 1 else ""
        return "\n".join(
            [
                "validation log loss: "
                + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()),
                f"the ensemble is {parts}{alone}",
                f"the saved model: val_accuracy {figures['val_accuracy']:.4f}, val_log_loss "
                f"{figures['val_log_loss']:.4f} ({best} alone: {losses[best]:.4f}); {metrics} "
                "holds these",
                *(f"warning: {remark}" for remark in self.summary["remarks"]),
            ]
        )


def run_candidates(
    candidates: Sequence[LibraryModel], images: ShardedArray, info: ModelInfo, batch_size: int
) -> list[Array]:
    """The probabilities of each model, float32 [n, classes].

    Args:
        candidates: the models.
        images: uint8 [n, size, size, 3].
        info: what a model of this run says of itself. A model of another size gets the pictures as
            the ensemble will hand them to it.
        batch_size: pictures at a time.

    Raises:
        ModelError: a file is damaged, of other classes, an ensemble, or was trained on squares that
            were made in another way.
    """
    probs = []
    for candidate in candidates:
        with open_model(candidate.path, candidate.remedy) as file:
            names = file.info.class_names
            check_classes(file.path, names, info.class_names, candidate.remedy)
            if file.info.resize != info.resize:
                raise ModelError(
                    f"{file.path}: expected preprocess.resize {info.resize}, as in this run, found "
                    f"{file.info.resize}; train it on the same squares, or remove it"
                )
            model = file.load()
        _check_network(candidate.path, model, file.info)
        network = join_models([JoinedModel(candidate.name, model, 1.0)], info.image_size)
        probs.append(predict_all(build_predictor(network), images, batch_size, candidate.name))
        if not np.isfinite(probs[-1]).all():
            raise ModelError(f"{candidate.path}: gives NaN or infinity; train it again")
    return probs


def _check_network(path: Path, model: keras.Model, info: ModelInfo) -> None:
    size_px, num_classes = info.image_size, len(info.class_names)
    expected = (None, size_px, size_px, 3), (None, num_classes)
    missing = {FEATURE_MAP, LOGITS, PROBS} - {layer.name for layer in model.layers}
    if missing or (model.input_shape, model.output_shape) != expected:
        raise ModelError(
            f"{path}: expected a model as the trainings save it, found another network; of an "
            "ensemble, put the members there instead"
        )


def build_ensemble(
    candidates: Sequence[LibraryModel],
    probs: Sequence[Array],
    labels: Array,
    size: int,
    size_px: int,
) -> Ensemble:
    """Choose among the candidates, and join those that were chosen.

    Args:
        candidates: the models.
        probs: what each says of the n validation pictures, float32 [n, classes].
        labels: int64 [n].
        size: how many picks at the most.
        size_px: side of the pictures that the ensemble takes.
    """
    picks = choose_members(probs, labels, size)
    chosen = [i for i, count in enumerate(picks) if count]
    shares = [picks[i] / sum(picks) for i in chosen]
    members = [
        JoinedModel(candidates[i].name, load_model(candidates[i].path), share)
        for i, share in zip(chosen, shares, strict=True)
    ]
    summary = {
        "members": {member.name: round(member.share, 6) for member in members},
        "candidates": {
            candidate.name: round(mean_loss(one, labels), 6)
            for candidate, one in zip(candidates, probs, strict=True)
        },
        "remarks": [candidates[i].remark for i in chosen if candidates[i].remark],
    }
    return Ensemble(join_models(members, size_px), summary)


def measure(path: Path, images: ShardedArray, labels: Array, batch_size: int) -> dict[str, float]:
    """``val_accuracy`` and ``val_log_loss`` of a saved model, as it is read again.

    Args:
        path: of its ``.keras`` file.
        images: uint8 [n, size, size, 3], of validation.
        labels: int64 [n].
        batch_size: pictures at a time.
    """
    probs = predict_all(build_predictor(load_model(path)), images, batch_size, path.stem)
    return {
        "val_accuracy": round(float((probs.argmax(axis=1) == labels).mean()), 6),
        "val_log_loss": round(mean_loss(probs, labels), 6),
    }
