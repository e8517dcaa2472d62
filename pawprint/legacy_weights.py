"""Reads a legacy PyTorch ``state_dict`` file without PyTorch, and without trusting it.

Such a file is a row of pickles (magic number, protocol, system, the tensors' descriptions, the
storages' keys) followed by the raw storages. A pickle can call anything; this reader's unpickler
knows four names, which is what a ``state_dict`` needs, and refuses every other.
Source: the format as documented in ``torch/serialization.py`` (``_legacy_save``).
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[Any, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """A copy of the tensor; its strides may be those of a transposed array."""
        flat = storages[self.storage.key]
        if len(self.shape) != len(self.strides) or min((*self.shape, *self.strides, 0)) < 0:
            raise WeightsError(f"a tensor of shape {self.shape} has strides {self.strides}")
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        if self.offset < 0 or (0 not in self.shape and last >= flat.size):
            raise WeightsError(f"a tensor of shape {self.shape} reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            flat[self.offset :],
            self.shape,
            [step * flat.itemsize for step in self.strides],
            writeable=False,
        ).copy()


def _rebuild_tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    _NAMES = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch", "FloatStorage"): "FloatStorage",
        ("torch", "LongStorage"): "LongStorage",
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._NAMES[module, name]
        except KeyError:
            raise WeightsError(f"it asks for {module}.{name}, which no state_dict needs") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, size, view = pid
        if kind != "storage" or storage_type not in _DTYPES or view is not None:
            raise WeightsError(f"it holds a storage of an unknown kind: {pid!r}")
        return _Storage(key, _DTYPES[storage_type], size)


def read_state_dict(path: Path | str, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read the tensors of a legacy PyTorch checkpoint.

    Args:
        path: the ``.pth`` file.
        sha256: what the file's SHA-256 must be, in hexadecimal; checked before anything is
            unpickled. ``None``: not checked.

    Returns:
        name → array (float32 or int64), in the file's order and PyTorch's axis order.

    Raises:
        WeightsError: the file cannot be read, has another checksum, is not such a checkpoint,
            or asks the unpickler for anything but tensors.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise WeightsError(f"{path}: expected SHA-256 {sha256}, found {found}; install it anew")
    try:
        return _parse(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: not a legacy PyTorch state_dict: {error}") from None
    except (MemoryError, RecursionError, Exception) as error:  # any byte can be damaged
        raise WeightsError(
            f"{path}: not a legacy PyTorch state_dict ({type(error).__name__}: {error})"
        ) from None


def _parse(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
        raise WeightsError("wrong magic number")
    if not _Unpickler(file).load().get("little_endian"):
        raise WeightsError("it was written on a big-endian machine")
    tensors = _Unpickler(file).load()
    sizes = {t.storage.key: t.storage for t in tensors.values()}
    storages: dict[str, np.ndarray] = {}
    for key in _Unpickler(file).load():
        storage = sizes[key]
        count = int.from_bytes(file.read(8), "little")
        raw = file.read(storage.size * storage.dtype.itemsize)
        if count != storage.size or len(raw) != storage.size * storage.dtype.itemsize:
            raise WeightsError("the file is truncated")
        storages[key] = np.frombuffer(raw, storage.dtype)
    return {name: tensor.read(storages) for name, tensor in tensors.items()}
