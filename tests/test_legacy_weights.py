"""Legacy PyTorch checkpoints: read without PyTorch, and without running what is in them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pawprint.backbones.legacy_weights import read_state_dict
from pawprint.runner.errors import WeightsError

# covers: R3, R13

MAGIC = 0x1950A86A20F9469CFC6C
LITTLE_ENDIAN = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
SIX = np.arange(6, dtype="<f4")


class FloatStorage:
    """Stands for torch.FloatStorage in what is pickled here."""


class LongStorage:
    """Stands for torch.LongStorage."""


class Storage:
    def __init__(self, kind: type, key: str, values: np.ndarray, view: Any = None) -> None:
        self.values = values
        self.pid = ("storage", kind, key, "cpu", values.size, view)


def _rebuild_tensor_v2(*arguments: Any) -> None:
    """Stands for the function of that name in torch._utils."""


class Tensor:
    def __init__(self, *arguments: Any) -> None:
        self.arguments = (*arguments, False, OrderedDict())

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuild_tensor_v2, self.arguments


@pytest.fixture(autouse=True)
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pickle write the names of PyTorch's classes, as PyTorch would."""
    torch, internals = ModuleType("torch"), ModuleType("torch._utils")
    for thing, module in (
        (FloatStorage, torch),
        (LongStorage, torch),
        (_rebuild_tensor_v2, internals),
    ):
        monkeypatch.setattr(thing, "__module__", module.__name__)
        setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, module.__name__, module)


class TorchPickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        return thing.pid if isinstance(thing, Storage) else None


def checkpoint(tensors: Any, *storages: Storage, magic: int = MAGIC, system: Any = None) -> bytes:
    """A legacy file, byte by byte as ``torch.save`` of PyTorch 1.5 writes it."""
    file = io.BytesIO()
    for part in (magic, 1001, system or LITTLE_ENDIAN, tensors, [s.pid[2] for s in storages]):
        TorchPickler(file, protocol=2).dump(part)
    for storage in storages:
        file.write(storage.values.size.to_bytes(8, "little") + storage.values.tobytes())
    return file.getvalue()


def read(tmp_path: Path, content: bytes, sha256: str | None = None) -> dict[str, np.ndarray]:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    return read_state_dict(path, sha256)


def test_shapes_strides_and_offsets_are_those_of_the_file(tmp_path: Path) -> None:
    shared = Storage(FloatStorage, "1", SIX)
    steps = Storage(LongStorage, "2", np.array([77], "<i8"))
    state = read(
        tmp_path,
        checkpoint(
            OrderedDict(
                plain=Tensor(shared, 0, (2, 3), (3, 1)),
                transposed=Tensor(shared, 0, (3, 2), (1, 3)),
                tail=Tensor(shared, 4, (2,), (1,)),
                column=Tensor(shared, 1, (2,), (3,)),
                repeated=Tensor(shared, 5, (2, 2), (0, 0)),
                steps=Tensor(steps, 0, (), ()),
                empty=Tensor(shared, 0, (0,), (1,)),
            ),
            shared,
            steps,
        ),
    )
    assert {name: array.tolist() for name, array in state.items()} == {
        "plain": [[0, 1, 2], [3, 4, 5]],
        "transposed": [[0, 3], [1, 4], [2, 5]],
        "tail": [4, 5],
        "column": [1, 4],
        "repeated": [[5, 5], [5, 5]],
        "steps": 77,
        "empty": [],
    }
    assert list(state) == ["plain", "transposed", "tail", "column", "repeated", "steps", "empty"]
    assert state["plain"].dtype == np.float32
    assert state["steps"].dtype == np.int64


class Command:
    """Unpickled without care, it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["instead of the file", "among the tensors", "in the system"])
def test_a_command_is_refused_before_it_runs(place: str, tmp_path: Path) -> None:
    command = Command(tmp_path / "made")
    content = {
        "instead of the file": pickle.dumps(command, 2),
        "among the tensors": checkpoint(OrderedDict(a=command)),
        "in the system": checkpoint(OrderedDict(), system=[command]),
    }[place]
    with pytest.raises(
        WeightsError,
        match=r"weights\.pth: .* asks for (posix|nt)\.mkdir, which no state_dict needs",
    ):
        read(tmp_path, content)
    assert not (tmp_path / "made").exists()


def test_the_checksum_is_checked_before_anything_is_unpickled(tmp_path: Path) -> None:
    content = pickle.dumps(Command(tmp_path / "made"), 2)
    with pytest.raises(WeightsError, match=r"expected SHA-256 0{64}, found [0-9a-f]{64}; install"):
        read(tmp_path, content, "0" * 64)


def test_the_right_checksum_is_accepted(tmp_path: Path) -> None:
    storage = Storage(FloatStorage, "1", SIX)
    content = checkpoint(OrderedDict(a=Tensor(storage, 0, (6,), (1,))), storage)
    state = read(tmp_path, content, hashlib.sha256(content).hexdigest())
    assert state["a"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    storage = Storage(FloatStorage, "1", SIX)
    content = checkpoint(OrderedDict(a=Tensor(storage, 0, (6,), (1,))), storage)
    for length in range(0, len(content), 7):
        with pytest.raises(WeightsError, match=r"weights\.pth: not a legacy PyTorch state_dict"):
            read(tmp_path, content[:length])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((4, (3,), (1,)), "reaches beyond its storage"),
        ((0, (2, 3), (4, 1)), "reaches beyond its storage"),
        ((-1, (2,), (1,)), "reaches beyond its storage"),
        ((5, (2,), (-1,)), "has strides"),
        ((0, (2, 3), (1,)), "has strides"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    arguments: tuple[Any, ...], reason: str, tmp_path: Path
) -> None:
    storage = Storage(FloatStorage, "1", SIX)
    with pytest.raises(WeightsError, match=reason):
        read(tmp_path, checkpoint(OrderedDict(a=Tensor(storage, *arguments)), storage))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "exhausted"),
        (b"PK\x03\x04 the format of later versions", "state_dict"),
        (checkpoint({}, magic=1), "wrong magic number"),
        (checkpoint({}, system={"little_endian": False}), "big-endian"),
        (checkpoint([1, 2]), "state_dict"),
        (checkpoint({"epoch": 3}), "state_dict"),
    ],
)
def test_other_files_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_view_of_a_storage_is_refused(tmp_path: Path) -> None:
    storage = Storage(FloatStorage, "1", SIX, view=("2", 0, 3))
    with pytest.raises(WeightsError, match="storage of an unknown kind"):
        read(tmp_path, checkpoint(OrderedDict(a=Tensor(storage, 0, (6,), (1,))), storage))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_is_a_finite_number(value: float, tmp_path: Path) -> None:
    storage = Storage(FloatStorage, "1", np.array([1, value], "<f4"))
    with pytest.raises(WeightsError, match=r"weights\.pth: .*: a weight is not a finite number"):
        read(tmp_path, checkpoint(OrderedDict(a=Tensor(storage, 0, (2,), (1,))), storage))


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    storage = Storage(FloatStorage, "1", SIX)
    tensor = Tensor(storage, 0, (1,), (1,))
    tensors = OrderedDict((str(i), tensor) for i in range(20_001))
    with pytest.raises(WeightsError, match=r"20,001 tensors, more than 20,000"):
        read(tmp_path, checkpoint(tensors, storage))


ENDLESS = "not an ordinary file"
MANY_LISTS = pickle.dumps([[] for _ in range(600_000)], 2)  # 56 bytes in memory for each of these


@pytest.mark.parametrize(
    ("kind", "reason"), [("large", "bytes, more than"), ("pipe", ENDLESS), ("device", ENDLESS)]
)
def test_what_is_too_large_is_not_read(kind: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    match kind:
        case "large":
            with open(path, "wb") as file:
                file.truncate(3_000_000_000)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match=rf"weights\.pth: cannot be read \(.*{reason}"):
        read_state_dict(path)


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="far larger than one of tensors"):
        read(tmp_path, MANY_LISTS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth: cannot be read \(No such file"):
        read_state_dict(tmp_path / "absent.pth")
