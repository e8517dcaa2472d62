"""A run of the whole pipeline on a few pictures of ten classes, once for all test processes."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from project import Project, make_project

SHARED = "SHARED_BY_TESTS"  # the variable that names the directory; tests/conftest.py sets it
STAGES = [
    *("params", "download", "split", "preprocess", "train_baseline", "features"),
    *("train_head", "crossval", "suspects", "finetune"),
    *("ensemble", "evaluate", "deciding", "export", "gradcam", "report"),
]
# The order is that of code points: a class's place is its label
CLASS_SIZES = {
    "A & B": 6,
    "O'Neill": 6,
    "a b": 6,
    "comma, class": 6,
    "point.class": 6,
    "żółw": 6,
    "ñandú": 12,
    "кот": 3,
    "猫": 9,
    "🐶": 20,
}
DAMAGED = "🐶/снимок 0.jpg"
TINY: dict[str, Any] = {
    "data.source": "folder",
    "preprocess.image_size": 32,
    "preprocess.resize": "letterbox",  # not the default, so that whoever forgets it is found
    "model.cut": "block6d",
    "features.batch_size": 8,
    "baseline.image_size": 32,
    "baseline.filters": [4],
    "baseline.dense": 4,
    "baseline.epochs": 2,
    "head.epochs": 2,
    "crossval.folds": 2,  # the smallest class has two pictures in train and val
    "finetune.epochs": 1,
    "finetune.lr": 1e-3,
    "export.int8": True,
    "export.calibration": 10,
    "export.int8_min_agreement": 0.0,
    "gradcam.fixed": 2,
    "gradcam.worst": 1,
}


def whole_run() -> Project:
    """The project, whose stages have all run, committed. To be copied, and left as it is."""
    place = Path(os.environ[SHARED])
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        project, done = Project(place / "project", place / "home"), place / "done"
        if not done.exists():
            shutil.rmtree(project.root, ignore_errors=True)
            make_project(project.root, project.home, TINY)
            write_pictures(project.root / "data/source")
            assert project.dvc("repro").stages == STAGES
            project.commit()
            done.touch()
    return project


def write_pictures(folder: Path) -> None:
    """Noise in a colour of each class, 64x32 PNG; one damaged JPEG."""
    rng = np.random.default_rng(0)
    for label, (class_name, count) in enumerate(CLASS_SIZES.items()):
        (folder / class_name).mkdir(parents=True)
        colour = np.array([25 * label, 255 - 25 * label, 60 * (label % 5)])
        for number in range(1, count + 1):
            pixels = (colour + rng.integers(-40, 40, (32, 64, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / class_name / f"снимок {number}.png")
    stream = io.BytesIO()
    Image.effect_noise((32, 32), 90).save(stream, "JPEG")
    (folder / DAMAGED).write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
