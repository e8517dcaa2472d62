"""From models to an ensemble: what each says of validation, which join, the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pawprint.ensembles.joining import JoinedModel, join_models, weigh_unlikeness
from pawprint.ensembles.library import LibraryModel
from pawprint.ensembles.selection import choose_members, mean_loss
from pawprint.evaluation.metrics import Array
from pawprint.networks.architectures import FEATURE_MAP, LOGITS, PROBS
from pawprint.networks.model_files import ModelInfo, check_classes, load_model, open_model
from pawprint.networks.predictor import build_predictor, predict_all, read_unlikeness
from pawprint.runner.errors import ModelError
from pawprint.storage.shards import ShardedArray
from pawprint.unlikeness.fit import LEAST_THRESHOLD, find_threshold


@dataclass(frozen=True)
class Outputs:
    """What a model says of the n validation pictures.

    Attributes:
        probs: float32 [n, classes].
        ratios: unlikeness, float32 [n]; None where the model does not tell it.
    """

    probs: Array
    ratios: Array | None


@dataclass(frozen=True)
class Ensemble:
    """Models that were joined.

    Attributes:
        model: pixels → probabilities, and unlikeness where a member has that.
        summary: what was chosen, fit for JSON: ``members``, name → share; ``candidates``, name →
            validation log loss; ``remarks``, what to know of the members.
        without: names of the members that do not tell unlikeness.
    """

    model: keras.Model
    summary: dict[str, Any]
    without: list[str]

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
                *self._say_what_unlikeness_is_of(),
                *(f"warning: {remark}" for remark in self.summary["remarks"]),
            ]
        )

    def _say_what_unlikeness_is_of(self) -> list[str]:
        named = ", ".join(self.without)
        if len(self.without) == len(self.summary["members"]):
            return [f"it does not tell unlike pictures, as no member does: {named}"]
        return [f"unlike pictures are told by the other members than {named}"] if named else []


def run_candidates(
    candidates: Sequence[LibraryModel], images: ShardedArray, info: ModelInfo, batch_size: int
) -> list[Outputs]:
    """What each model says.

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
    found = []
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
        outputs = predict_all(build_predictor(network), images, batch_size, candidate.name)
        if not all(np.isfinite(output).all() for output in outputs):
            raise ModelError(f"{candidate.path}: gives NaN or infinity; train it again")
        found.append(Outputs(outputs[0], read_unlikeness(outputs)))
    return found


def _check_network(path: Path, model: keras.Model, info: ModelInfo) -> None:
    size_px, num_classes = info.image_size, len(info.class_names)
    expected = (None, size_px, size_px, 3), [(None, num_classes), (None, 1)]
    found = model.input_shape, [output.shape for output in model.outputs]
    missing = {FEATURE_MAP, LOGITS, PROBS} - {layer.name for layer in model.layers}
    if missing or found not in (expected, (expected[0], expected[1][:1])):
        raise ModelError(
            f"{path}: expected a model as the trainings save it, found another network; of an "
            "ensemble, put the members there instead"
        )


def build_ensemble(
    candidates: Sequence[LibraryModel],
    judged: Sequence[Outputs],
    labels: Array,
    size: int,
    size_px: int,
    reject: float,
) -> Ensemble:
    """Choose among the candidates, and join those that were chosen.

    Args:
        candidates: the models.
        judged: what each says of the n validation pictures.
        labels: int64 [n].
        size: how many picks at the most.
        size_px: side of the pictures that the ensemble takes.
        reject: the share of validation pictures whose unlikeness is above 1, see
            ``pawprint.unlikeness.fit.find_threshold``.
    """
    probs = [one.probs for one in judged]
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
    ratios = weigh_unlikeness([judged[i].ratios for i in chosen], shares)
    threshold = 1.0 if ratios is None else max(find_threshold(ratios, reject), LEAST_THRESHOLD)
    without = [candidates[i].name for i in chosen if judged[i].ratios is None]
    return Ensemble(join_models(members, size_px, threshold), summary, without)


def measure(path: Path, images: ShardedArray, labels: Array, batch_size: int) -> dict[str, float]:
    """``val_accuracy`` and ``val_log_loss`` of a saved model, as it is read again.

    Args:
        path: of its ``.keras`` file.
        images: uint8 [n, size, size, 3], of validation.
        labels: int64 [n].
        batch_size: pictures at a time.
    """
    probs, *_ = predict_all(build_predictor(load_model(path)), images, batch_size, path.stem)
    return {
        "val_accuracy": round(float((probs.argmax(axis=1) == labels).mean()), 6),
        "val_log_loss": round(mean_loss(probs, labels), 6),
    }
