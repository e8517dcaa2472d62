"""Reads a legacy PyTorch ``state_dict`` file without PyTorch, and without trusting it.

Such a file is a row of pickles (magic number, protocol, system, the tensors' descriptions, the
storages' keys) followed by the raw storages. A pickle can call anything; this reader allows the
opcodes and the four names which a ``state_dict`` needs, and refuses every other before it runs.
Source: the format as documented in ``torch/serialization.py`` (``_legacy_save``).
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.runner.bounds import read_bounded
from pawprint.runner.errors import WeightsError, one_line

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[Any, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}
_OPCODES = frozenset(
    (
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"),
        *("LONG1", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT"),
        *("LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    )
)
_MAX_MEMO = 1_000_000  # the unpickler makes room up to the largest place that is named
_MAX_TUPLES = 50_000  # hashing a tuple that is nested 100,000 times crashes Python
_MAX_FILE_BYTES = 2_000_000_000
_MAX_OPCODES = 500_000  # each makes a small object; EfficientNet-Lite0's file has 11,000
_MAX_TENSORS = 20_000


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
        """The tensor as a view of its storage; its strides may be those of a transposed array."""
        flat = storages[self.storage.key]
        if len(self.shape) != len(self.strides) or min((*self.shape, *self.strides, 0)) < 0:
            raise WeightsError(f"a tensor of shape {self.shape} has strides {self.strides}")
        if math.prod(self.shape) > flat.size:  # with strides of 0, it could be of any size
            raise WeightsError(f"a tensor of shape {self.shape} is larger than its storage")
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
        )


class _RebuildTensor:
    """Stands for a function of PyTorch; has no slots, so that no pickle can alter it (BUILD)."""

    __slots__ = ()

    def __call__(
        self,
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
        ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
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
        name → array (float32 or int64; read-only), in the file's order and PyTorch's axis order.

    Raises:
        WeightsError: the file cannot be read, has another checksum, is not such a checkpoint,
            or asks the unpickler for anything but tensors.
    """
    try:
        content = read_bounded(Path(path), _MAX_FILE_BYTES)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise WeightsError(f"{path}: expected SHA-256 {sha256}, found {found}; install it anew")
    try:
        return _parse(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: not a legacy PyTorch state_dict: {error}") from None
    except Exception as error:  # any byte can be damaged
        reason = one_line(f"{type(error).__name__}: {error}")
        raise WeightsError(f"{path}: not a legacy PyTorch state_dict ({reason})") from None


def _parse(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
        raise WeightsError("wrong magic number")
    if not _load(file).get("little_endian"):
        raise WeightsError("it was written on a big-endian machine")
    tensors = _load(file)
    if not all(isinstance(k, str) and isinstance(t, _Tensor) for k, t in tensors.items()):
        raise WeightsError("it holds other things than tensors")
    if len(tensors) > _MAX_TENSORS:
        raise WeightsError(f"it holds {len(tensors):,} tensors, more than {_MAX_TENSORS:,}")
    described = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages: dict[str, np.ndarray] = {}
    for key in _load(file):
        storage = described[key]
        count = int.from_bytes(file.read(8), "little")
        raw = file.read(storage.size * storage.dtype.itemsize)
        if count != storage.size or len(raw) != storage.size * storage.dtype.itemsize:
            raise WeightsError("the file is truncated")
        storages[key] = np.frombuffer(raw, storage.dtype)
        if not np.isfinite(storages[key]).all():
            raise WeightsError("a weight is not a finite number")
    return {name: tensor.read(storages) for name, tensor in tensors.items()}


def _load(file: io.BytesIO) -> Any:
    """Unpickle what begins here, once all of its opcodes are known to be harmless."""
    start = file.tell()
    tuples = 0
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in _OPCODES:
            raise WeightsError(f"its pickle has the opcode {opcode.name}, which none needs")
        tuples += "TUPLE" in opcode.name
        place = argument if opcode.name == "LONG_BINPUT" else 0
        if place > _MAX_MEMO or tuples > _MAX_TUPLES or count > _MAX_OPCODES:
            raise WeightsError("its pickle is far larger than one of tensors")
    file.seek(start)
    return _Unpickler(file).load()
