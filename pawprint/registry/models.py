"""The models that the pipeline makes, each told once.

A further model is a line here and its entries in ``dvc.yaml``, which a test compares with this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """One trained model.

    Attributes:
        name: in metrics, tables and file names.
        stage: that makes it.
        file: that the stage writes.
        colour: in charts: Okabe and Ito's, told apart with any colour vision.
        title: what a page calls it.
    """

    name: str
    stage: str
    file: str
    colour: str
    title: str

    @property
    def figures(self) -> str:
        """The file of its training's figures, ``val_log_loss`` among them."""
        return f"metrics/{self.stage}.json"


# Every run has these, each with the curves of its training
TRAINED = (
    Model("baseline", "train_baseline", "models/baseline.keras", "#0072B2", "CNN from scratch"),
    Model("head", "train_head", "models/head.keras", "#D55E00", "Head on a frozen backbone"),
    Model("finetuned", "finetune", "models/finetuned.keras", "#009E73", "Fine-tuned backbone"),
)
# Made of others, where it is asked for: else its file is missing, and its figures are empty
ENSEMBLE = Model(
    "ensemble", "ensemble", "models/ensemble/ensemble.keras", "#CC79A7", "Ensemble of models"
)
MODELS = (*TRAINED, ENSEMBLE)
MODEL_NAMES = tuple(model.name for model in MODELS)


def made_models(root: Path) -> list[Model]:
    """The models that a run has: those that are trained, and the ensemble if there is one.

    Args:
        root: of the project.
    """
    made = (root / ENSEMBLE.file).is_file()
    return [model for model in MODELS if made or model != ENSEMBLE]


def find_model(name: str) -> Model | None:
    """The model of a name; None if the pipeline makes none of that name."""
    return next((model for model in MODELS if model.name == name), None)


def find_best(val_log_losses: Mapping[str, float]) -> str:
    """The name of the best model: the lowest validation log loss. The test split has no say.

    Args:
        val_log_losses: of models, by name; of several that are equal, the first is the best.
    """
    return min(val_log_losses, key=lambda name: val_log_losses[name])
