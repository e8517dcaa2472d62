"""Saves and loads ``.keras`` files: the same weights give the same bytes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from pawprint.runner.errors import ModelError, one_line
from pawprint.runner.files import atomic_write

if TYPE_CHECKING:
    import keras

METADATA_FILE = "metadata.json"


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself, beside its weights.

    Attributes:
        class_names: in the order of the probabilities; empty for a backbone.
        image_size: side of the square input in pixels.
    """

    class_names: list[str]
    image_size: int


def save_model(model: keras.Model, path: Path, info: ModelInfo) -> None:
    """Write a model whole or not at all.

    Keras' own file holds the date, memory addresses as object ids, and the time in its zip
    entries; here they are left out, so that equal models are equal files. Where they stand is not
    promised: see tests/test_private_sides.py.
    """
    with tempfile.TemporaryDirectory() as directory:
        raw = Path(directory, "raw.keras")
        model.save(raw)
        with ZipFile(raw) as source, atomic_write(path) as file, ZipFile(file, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == METADATA_FILE:
                    metadata = json.loads(content)
                    metadata.pop("date_saved", None)
                    content = _to_json(metadata | {"pawprint": asdict(info)})
                elif name == "config.json":
                    content = _to_json(_renumber(json.loads(content), {}))
                target.writestr(ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def load_model(path: Path) -> keras.Model:
    """Read a model for inference.

    Raises:
        ModelError: the file is missing, damaged, or not made by Keras.
    """
    import keras

    read_model_info(path)
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = one_line(error)
        raise ModelError(f"{path}: cannot be loaded ({reason}); run dvc repro") from None


def read_model_info(path: Path) -> ModelInfo:
    """Read class names and image size without TensorFlow.

    Raises:
        ModelError: the file is missing, damaged, or was not written by ``save_model``.
    """
    try:
        with ZipFile(path) as archive:
            return ModelInfo(**json.loads(archive.read(METADATA_FILE))["pawprint"])
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; run dvc repro") from None
    except (BadZipFile, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not a model of Pawprint ({error}); run dvc repro") from None


def check_classes(path: Path, class_names: list[str]) -> None:
    """Refuse a model of other classes than those of the data, or in another order.

    Raises:
        ModelError: both lists, the file, and what to do.
    """
    found = read_model_info(path).class_names
    if found != class_names:
        raise ModelError(
            f"{path}: expected the classes of the data, {', '.join(class_names)}; found "
            f"{', '.join(found) or 'none'}; train it on this data: run dvc repro"
        )


def _to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _renumber(value: Any, seen: dict[int, int]) -> Any:
    """Replace object ids, which are memory addresses, by their order of appearance."""
    if isinstance(value, dict):
        return {
            key: seen.setdefault(item, len(seen))
            if key == "shared_object_id"
            else _renumber(item, seen)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_renumber(item, seen) for item in value]
    return value
