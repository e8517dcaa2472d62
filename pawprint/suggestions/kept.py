"""What a server has kept of pictures that it has seen: what the model found in them, no pixels.

As a file it is JSON Lines: first which model this is of, and its classes; then a line a picture,
the newest last. Features are float32 in base64, the lowest byte first.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.runner.bounds import open_bounded, parse_json
from pawprint.runner.errors import DataError, one_line

_MOST_BYTES = 1 << 30
_LINE_BYTES = 1 << 20
_TEXTS = ("sha256", "name", "request_id", "time")
_LITTLE_ENDIAN = "<f4"


@dataclass(frozen=True)
class KeptPicture:
    """What is kept of one picture.

    Attributes:
        sha256: of its file, in hexadecimal.
        name: as the client said; empty if it did not.
        request_id: of the request that it came with.
        time: when it was answered, in UTC.
        probs: float32 [classes].
        features: float32 [d], the means of the last map's channels.
    """

    sha256: str
    name: str
    request_id: str
    time: str
    probs: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class KeptPictures:
    """The last pictures that a model has seen.

    Attributes:
        model: its name.
        class_names: in the order of the probabilities.
        pictures: the newest last.
    """

    model: str
    class_names: list[str]
    pictures: Sequence[KeptPicture]


def render_kept(kept: KeptPictures) -> bytes:
    """The file."""
    lines = [{"model": kept.model, "class_names": kept.class_names}, *map(_row, kept.pictures)]
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode(
        errors="backslashreplace"
    )


def _row(picture: KeptPicture) -> dict[str, Any]:
    content = picture.features.astype(_LITTLE_ENDIAN).tobytes()
    return {
        **{key: getattr(picture, key) for key in _TEXTS},
        "probabilities": picture.probs.astype(float).tolist(),
        "features": base64.b64encode(content).decode(),
    }


def read_kept(path: Path) -> KeptPictures:
    """Read a file that ``render_kept`` made, or anybody.

    Raises:
        DataError: it is none; the message names the line.
        OSError: it cannot be read.
    """
    line = 0
    pictures: list[KeptPicture] = []
    try:
        with open_bounded(path, _MOST_BYTES) as file:
            head: Any = parse_json(file.readline(_LINE_BYTES))
            line = 1
            kept = KeptPictures(_text(head, "model"), _texts(head["class_names"]), pictures)
            while content := file.readline(_LINE_BYTES):
                line += 1
                pictures.append(_parse(parse_json(content), len(kept.class_names)))
                if len(pictures[-1].features) != len(pictures[0].features):
                    raise ValueError("features of another length than those before")
        return kept
    except (KeyError, TypeError, ValueError) as error:
        place = f"{path}: line {line}" if line else f"{path}"
        raise DataError(
            f"{place}: expected a folder of pictures, or a file of what a server with "
            f"--keep-features gives for GET /v1/kept; found {one_line(error)}"
        ) from None


def _parse(found: Any, classes: int) -> KeptPicture:
    probs = np.array(found["probabilities"], np.float32)
    features = np.frombuffer(base64.b64decode(found["features"], validate=True), _LITTLE_ENDIAN)
    if probs.shape != (classes,) or not len(features):
        raise ValueError(f"{probs.shape} probabilities and {len(features)} features")
    if not (np.isfinite(probs).all() and np.isfinite(features).all()):
        raise ValueError("a number that is not finite")
    sha256, name, request_id, time = (_text(found, key) for key in _TEXTS)
    return KeptPicture(sha256, name, request_id, time, probs, features.astype(np.float32))


def _text(found: Any, key: str) -> str:
    if not isinstance(found[key], str):
        raise ValueError(f"{key}: expected a text")
    return found[key]


def _texts(found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("class_names: expected texts")
    return found
