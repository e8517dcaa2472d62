"""Small exported models, made in a process of their own: Keras has one backend in a process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
COLOURS = ["red", "green", "blue"]  # classes of the model ``colours``
COLOURS_SIZE = 32
CONTRAST = 0.05  # its logits: the mean of each channel in every fourth column, times this

# A model whose every answer can be computed by hand, see colour_probs
COLOURS_MODEL = f"""
from pawprint.networks.runtime import start_engine
start_engine("openvino", 1)
import keras, numpy as np
from pathlib import Path
from pawprint.inference.classifier import ModelCard, save_classifier
from pawprint.networks.model_files import ModelInfo, save_model
from pawprint.networks.architectures import LOGITS, add_pooling, add_probs
from pawprint.unlikeness.fit import Unlikeness
from pawprint.unlikeness.likeness import Likeness
from pawprint.unlikeness.network import add_unlikeness
pixels = keras.Input(({COLOURS_SIZE}, {COLOURS_SIZE}, 3), name="pixels")
choose = keras.layers.Conv2D(3, 4, strides=4, use_bias=False, name="choose")
backbone = add_pooling(keras.Model(pixels, choose(pixels)), "avg")
kernel = np.zeros((4, 4, 3, 3))
kernel[:, 0] = np.eye(3) / 4  # every fourth column counts, so that a mirror image differs
choose.set_weights([kernel])
logits = keras.layers.Dense(3, use_bias=False, name=LOGITS)
model = add_probs(keras.Model(backbone.input, logits(backbone.output)))
logits.set_weights([np.eye(3) * {CONTRAST}])
# What a picture of red alone is like; green lies in a direction that counts less, see tell_ratios
likeness = Likeness(np.array([1.0, 0, 0]), np.array([[0.0], [1.0], [0.0]]), 0.5)
telling = add_unlikeness(model, Unlikeness(likeness, 2.0, (9, 9)))
def export(name, flip=True, tta=1, resize="stretch", above=None):
    of = name, {COLOURS}, {COLOURS_SIZE}, 10_000, {{"flip": flip}}, {{}}, {{}}, {{}}
    card = ModelCard(*of, tta=tta, resize=resize, unlike_above=above)
    save_classifier(telling if above else model, card, Path("models", name))
export("export")
export("upright", flip=False)
export("averaged", tta=2)
export("boxed", resize="letterbox")
export("telling", above=1.0)
export("strict", above=0.5, tta=2)
save_model(telling, Path("models/telling.keras"), ModelInfo({COLOURS}, {COLOURS_SIZE}))
save_model(model, Path("models/colours.keras"), ModelInfo({COLOURS}, {COLOURS_SIZE}))
boxed = ModelInfo({COLOURS}, {COLOURS_SIZE}, "letterbox")
save_model(model, Path("models/boxed.keras"), boxed)
"""


def colours_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of ``COLOURS_MODEL``, made once for all tests: export, upright, ..."""
    directory = tmp_path_factory.getbasetemp() / "colours"
    if not directory.exists():
        directory.mkdir()
        run_code(COLOURS_MODEL, directory)
    return directory / "models"


def colour_probs(pixels: np.ndarray) -> np.ndarray:
    """What the model ``colours`` must say of uint8 [n, size, size, 3], as float64 [n, 3]."""
    scores = np.exp(CONTRAST * pixels[:, :, ::4].mean(axis=(1, 2)))
    return scores / scores.sum(axis=1, keepdims=True)


def promising_model(source: Path, directory: Path, **changes: object) -> Path:
    """A copy of an exported model, whose card says that it decides alone from 90 % on.

    A server compares windows of 4 pictures: none but red ones would be two classes too few.
    """
    half = {"shares": [1 / 3] * 3, "fewest": [0, 0, 0], "most": [3, 3, 3]}
    drift = {
        "window": 4,
        "false_alarms": 0.001,
        "pictures": 100,
        "unlike": {"shares": [0.01], "fewest": [0], "most": [1]},
        "unlikeness": {"edges": [0.5, 1.0], "shares": [0.5, 1.0], "limit": 0.6},
        "confidence": {"edges": [0.8, 1.0], "shares": [0.5, 1.0], "limit": 0.6},
        "classes": half,
        "brightness": {"edges": [60.0, 255.0], "shares": [0.0, 1.0], "limit": 0.6},
    }
    deciding = {"precision": 0.995, "confidence": 0.98, "threshold": 0.9, "drift": drift}
    shutil.copytree(source, directory, dirs_exist_ok=True)
    card = directory / "model.json"
    content = json.loads(card.read_bytes()) | {"deciding": deciding | changes}
    card.write_text(json.dumps(content), "utf-8")
    return directory


def tell_ratios(pixels: np.ndarray) -> np.ndarray:
    """The unlikeness that the model ``telling`` must say of uint8 [n, size, size, 3], float64 [n].

    Of the direction z of the means of the channels: ((1 - red)² + green² + blue²) / 0.5 - green²,
    over 2: of a red picture 0, of a green one 1.5, of a blue one 2.
    """
    means = pixels[:, :, ::4].mean(axis=(1, 2))
    red, green, blue = (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    return (((1 - red) ** 2 + green**2 + blue**2) / 0.5 - green**2) / 2


def run_python(
    *arguments: str | bytes, cwd: Path, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run Python where ``pawprint`` can be imported."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        input=stdin,
        capture_output=True,
        timeout=600,
    )


def run_code(code: str, cwd: Path) -> None:
    """The same for code that must end well."""
    done = run_python("-c", code, cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
