"""Saves and loads ``.keras`` files: the same weights give the same bytes."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

from pawprint.networks.config_bounds import check_config, check_outputs
from pawprint.registry.resizing import STRETCH, Resize, check_resize
from pawprint.runner.bounds import (
    MAX_JSON_BYTES,
    check_h5,
    copy_bounded,
    open_stored_zip,
    parse_json,
    read_member,
)
from pawprint.runner.errors import ModelError, one_line
from pawprint.runner.files import atomic_write

if TYPE_CHECKING:
    import keras

CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE = "config.json", "metadata.json", "model.weights.h5"
MAX_MODEL_BYTES = 600_000_000  # six times ResNet50
MAX_IMAGE_SIZE = 4096
MAX_CLASSES = 65_536
MAX_NAME_LENGTH = 1000
REMEDY = "run dvc repro"  # where a model of the pipeline cannot be used


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself, beside its weights.

    Attributes:
        class_names: in the order of the probabilities; empty for a backbone.
        image_size: side of the square input in pixels.
        resize: how a picture became a square. A file says it only where it is not ``stretch``, so
            older files, which never say it, are right, and have the bytes that they had.
    """

    class_names: list[str]
    image_size: int
    resize: Resize = STRETCH

    def check(self) -> None:
        """ValueError where a value is of another type, or out of a sane range."""
        names, size = self.class_names, self.image_size
        if type(size) is not int or not 1 <= size <= MAX_IMAGE_SIZE:
            raise ValueError(f"image_size: expected 1 to {MAX_IMAGE_SIZE}, found {repr(size)[:50]}")
        if not isinstance(names, list) or len(names) > MAX_CLASSES:
            raise ValueError(f"class_names: expected a list of at most {MAX_CLASSES:,} names")
        for name in names:
            if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
                raise ValueError(
                    f"class_names: expected names of 1 to {MAX_NAME_LENGTH} characters, "
                    f"found {repr(name)[:50]}"
                )
            name.encode()  # half a character of UTF-16 is none
        if len(set(names)) < len(names):
            raise ValueError("class_names: a name stands there twice")
        check_resize(self.resize)

    def written(self) -> dict[str, Any]:
        """What a file holds of it."""
        return {k: v for k, v in asdict(self).items() if (k, v) != ("resize", STRETCH)}


@dataclass(frozen=True)
class ModelFile:
    """A ``.keras`` file that was read once.

    Attributes:
        path: where it was, as messages name it; nothing reads it again.
        info: what it says of itself.
        digest: the SHA-256 of what was read, in hexadecimal.
        copy: of it, which is nobody else's.
        remedy: what a user can do where it cannot be loaded.
    """

    path: Path
    info: ModelInfo
    digest: str
    copy: Path
    remedy: str = REMEDY

    def load(self) -> keras.Model:
        """The model, for inference.

        Raises:
            ModelError: the file is damaged, not made by Keras, or asks for too much.
        """
        import keras

        try:
            _check_content(self.copy)
            with warnings.catch_warnings():
                # Keras only warns where it leaves weights as they were, at random
                warnings.simplefilter("error", UserWarning)
                model = keras.models.load_model(self.copy, compile=False)
            check_outputs(model)
        except Exception as error:  # any byte can be damaged, and Keras has errors of many types
            reason = one_line(error)
            raise ModelError(f"{self.path}: cannot be loaded ({reason}); {self.remedy}") from None
        return model


def save_model(model: keras.Model, path: Path, info: ModelInfo) -> None:
    """Write a model whole or not at all.

    Keras' own file holds the date, memory addresses as object ids, and the time in its zip
    entries; here they are left out, so that equal models are equal files. Where they stand is not
    promised: see tests/test_private_sides.py.

    Raises:
        ModelError: `info` could not be read again.
    """
    try:
        info.check()
    except ValueError as error:
        raise ModelError(f"{path}: {one_line(error)}") from None
    with tempfile.TemporaryDirectory() as directory:
        raw = Path(directory, "raw.keras")
        model.save(raw)
        with ZipFile(raw) as source, atomic_write(path) as file, ZipFile(file, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == METADATA_FILE:
                    metadata = json.loads(content)
                    metadata.pop("date_saved", None)
                    content = _to_json(metadata | {"pawprint": info.written()})
                elif name == CONFIG_FILE:
                    content = _to_json(_renumber(json.loads(content), {}))
                target.writestr(ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


@contextmanager
def open_model(path: Path, remedy: str = REMEDY) -> Iterator[ModelFile]:
    """Read a model file; what is copied of it is deleted at the end of the block.

    Keras loads from nothing but a path. What it opens is therefore a copy: the file itself may be
    another one a moment later.

    Args:
        path: of the file.
        remedy: what a user can do where it cannot be used.

    Raises:
        ModelError: the file is missing, damaged, or was not written by ``save_model``.
    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "model.keras")
        try:
            digest = copy_bounded(path, copy, MAX_MODEL_BYTES)
            info = _read_info(copy)
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file; {remedy}") from None
        except ValueError as error:
            reason = one_line(error)
            raise ModelError(f"{path}: not a model of Pawprint ({reason}); {remedy}") from None
        yield ModelFile(path, info, digest, copy, remedy)


def _read_info(file: Path) -> ModelInfo:
    with open(file, "rb") as stream, open_stored_zip(stream) as archive:
        expected = [CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE]
        if sorted(archive.namelist()) != expected:
            found = ", ".join(archive.namelist())
            raise ValueError(f"expected {', '.join(expected)} in its zip, found {found}")
        metadata: Any = parse_json(read_member(archive, METADATA_FILE, MAX_JSON_BYTES))
    try:
        info = ModelInfo(**metadata["pawprint"])
    except (KeyError, TypeError):
        raise ValueError(f"{METADATA_FILE} lacks what Pawprint writes there") from None
    info.check()
    return info


def _check_content(file: Path) -> None:
    with open(file, "rb") as stream, open_stored_zip(stream) as archive:
        size = archive.getinfo(WEIGHTS_FILE).file_size
        check_config(parse_json(read_member(archive, CONFIG_FILE, MAX_JSON_BYTES)), size)
        check_h5(io.BytesIO(archive.read(WEIGHTS_FILE)))


def load_model(path: Path) -> keras.Model:
    """Read a model for inference.

    Raises:
        ModelError: as ``open_model`` and ``ModelFile.load``.
    """
    with open_model(path) as file:
        return file.load()


def read_model_info(path: Path) -> ModelInfo:
    """Read what a model file says of itself, without TensorFlow.

    Raises:
        ModelError: as ``open_model``.
    """
    with open_model(path) as file:
        return file.info


def check_classes(
    path: Path,
    found: list[str],
    expected: list[str],
    remedy: str = f"train it on this data: {REMEDY}",
) -> None:
    """Refuse a model of other classes than those of the data, or in another order.

    Args:
        path: of the model, for the message.
        found: its classes.
        expected: those of the data.
        remedy: what a user can do.

    Raises:
        ModelError: both lists, the file, and what to do.
    """
    if found != expected:
        raise ModelError(
            f"{path}: expected the classes of the data, {', '.join(expected)}; found "
            f"{', '.join(found) or 'none'}; {remedy}"
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
