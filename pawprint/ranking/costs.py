"""What candidates cost: the time of their frozen network, and what is kept of a picture on disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pawprint.networks.model_files import load_model
from pawprint.networks.predictor import Precision, build_predictor

_PICTURES, _ROUNDS = 16, 11


@dataclass(frozen=True)
class Cost:
    """Of one candidate.

    Attributes:
        seconds: of its frozen network for a picture, on all cores.
        picture_bytes: of a picture's pixels and features on disk.
        model_bytes: of the frozen network's file.
    """

    seconds: float
    picture_bytes: float
    model_bytes: int


def measure_seconds(
    networks: Sequence[Path], sizes_px: Sequence[int], precision: Precision
) -> list[float]:
    """Seconds a picture of frozen networks, on this process's engine.

    The networks take turns, so that other work on the machine meets all of them; the median of
    their turns counts. Decoding is not counted.

    Args:
        networks: ``.keras`` files, pixels → pooled features.
        sizes_px: of the pictures of each.
        precision: of the arithmetic.
    """
    rng = np.random.default_rng(0)
    predictors = [build_predictor(load_model(path), precision) for path in networks]
    pictures = [rng.integers(0, 256, (_PICTURES, px, px, 3), np.uint8) for px in sizes_px]
    taken: list[list[float]] = [[] for _ in networks]
    for turn in tqdm(range(1 + _ROUNDS), desc="timing", unit="round"):
        for predictor, images, seconds in zip(predictors, pictures, taken, strict=True):
            start = time.perf_counter()
            predictor(images)
            if turn:  # the first one also makes what is kept
                seconds.append((time.perf_counter() - start) / _PICTURES)
    return [statistics.median(seconds) for seconds in taken]


def bytes_of_picture(outputs: Mapping[str, int], shares: Mapping[str, int]) -> float:
    """Bytes on disk for each picture.

    Args:
        outputs: path → bytes of an output.
        shares: path → how many pictures it is for.

    >>> bytes_of_picture({"pixels": 3000, "features": 80}, {"pixels": 10, "features": 8})
    310.0
    """
    return sum(outputs[path] / count for path, count in shares.items())
