"""Arrays as a few files: rows come back in the order asked for, whatever the file."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pawprint.runner.errors import PawprintError
from pawprint.runner.journal import map_shards
from pawprint.storage.shards import OPEN_FILES, ShardedArray, shard_name, write_shard

# covers: R8, B3, B9

ROWS = np.arange(7 * 2 * 3, dtype=np.int16).reshape(7, 2, 3)


def write_shards(directory: Path, *lengths: int) -> ShardedArray:
    start = 0
    for number, length in enumerate(lengths):
        write_shard(directory / shard_name(number), ROWS[start : start + length])
        start += length
    return ShardedArray(directory)


@pytest.mark.parametrize("lengths", [(7,), (3, 4), (1, 5, 1), (3, 0, 4), (0, 7), (7, 0)])
def test_rows_of_all_files_are_one_array(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    array = write_shards(tmp_path, *lengths)
    assert (len(array), array.shape, array.dtype) == (7, (7, 2, 3), np.int16)
    np.testing.assert_array_equal(array.gather(range(7)), ROWS)


def test_rows_come_in_the_order_asked_for_and_may_repeat(tmp_path: Path) -> None:
    array = write_shards(tmp_path, 3, 4)
    np.testing.assert_array_equal(array.gather(np.array([6, 0, 3, 2, 0])), ROWS[[6, 0, 3, 2, 0]])


def test_no_rows_are_an_empty_array(tmp_path: Path) -> None:
    assert write_shards(tmp_path, 3, 4).gather([]).shape == (0, 2, 3)


@pytest.mark.parametrize("row", [7, -1])
def test_a_row_that_does_not_exist_is_refused(tmp_path: Path, row: int) -> None:
    array = write_shards(tmp_path, 3, 4)
    with pytest.raises(IndexError, match=f"row {row} of an array of 7"):
        array.gather([row])


def test_batches_hold_every_row_once(tmp_path: Path) -> None:
    batches = list(write_shards(tmp_path, 3, 4).batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), ROWS)


def test_more_than_ten_shards_keep_their_order(tmp_path: Path) -> None:
    for number in range(12):
        write_shard(tmp_path / shard_name(number), np.array([number]))
    assert ShardedArray(tmp_path).gather(range(12)).tolist() == list(range(12))


def test_more_shards_than_files_that_may_be_open(tmp_path: Path) -> None:
    count = OPEN_FILES + 40
    for number in range(count):
        write_shard(tmp_path / shard_name(number), np.array([number]))
    in_use = len(os.listdir("/proc/self/fd"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + OPEN_FILES + 5, before[1]))
    try:
        array = ShardedArray(tmp_path)
        rows = np.random.default_rng(0).integers(0, count, 1000)
        assert array.gather(rows).tolist() == rows.tolist()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.int64])
def test_every_type_round_trips(tmp_path: Path, dtype: type) -> None:
    values: np.ndarray = np.array([[1, 2], [3, 4]], dtype)
    write_shard(tmp_path / shard_name(0), values.T)  # not contiguous
    rows = ShardedArray(tmp_path).gather([1, 0])
    assert rows.dtype == dtype
    assert rows.tolist() == [[2, 4], [1, 3]]


def test_same_array_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        write_shard(tmp_path / name, ROWS[::2])
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.npy shards: .*absent"):
        ShardedArray(tmp_path / "absent")


def test_a_shard_cut_off_while_it_is_open_is_named(tmp_path: Path) -> None:
    array = write_shards(tmp_path, 3, 4)
    path = tmp_path / shard_name(1)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    np.testing.assert_array_equal(array.gather([5]), ROWS[[5]])
    with pytest.raises(OSError, match=r"truncated shard: .*00001\.npy"):
        array.gather([6])


def test_work_on_shards_keeps_their_order() -> None:
    assert map_shards(abs, [-3, 2, -1], "absolute values") == [3, 2, 1]


def test_shards_whose_results_are_known_start_nothing() -> None:
    assert map_shards(abs, [-3, 2], "none", known={0: 30, 1: 20}) == [30, 20]
    with ThreadPoolExecutor(1) as executor:
        found = map_shards(abs, [-3, 2, -1], "some", executor, known={1: 20})
    assert found == [3, 20, 1]


@dataclass(frozen=True)
class Square:
    """Work whose every call is counted by a file of its own."""

    number: int
    out: Path

    @property
    def files(self) -> list[Path]:
        return [self.out / shard_name(self.number)]


def write_square(shard: Square) -> list[int]:
    with tempfile.NamedTemporaryFile(dir=shard.out.parent / "calls", delete=False):
        write_shard(shard.files[0], np.full(3, shard.number**2))
    return [shard.number, shard.number**2]


def stop_at_three(shard: Square) -> list[int]:
    if shard.number == 3:
        raise KeyboardInterrupt
    return write_square(shard)


class Squares:
    """Five shards, their files, and how often one was worked on."""

    def __init__(self, directory: Path) -> None:
        self.out, self.journal = directory / "out", directory / "journal"
        self.calls = directory / "calls"
        self.calls.mkdir()

    def run(self, function: Callable[[Square], list[int]] = write_square) -> int:
        """Work on all shards; how many had to be."""
        before = len(list(self.calls.iterdir()))
        shards = [Square(number, self.out) for number in range(5)]
        with ThreadPoolExecutor(1) as executor:
            results = map_shards(function, shards, "squares", executor, self.journal)
        assert results == [[0, 0], [1, 1], [2, 4], [3, 9], [4, 16]]
        assert ShardedArray(self.out).gather(range(0, 15, 3)).tolist() == [0, 1, 4, 9, 16]
        return len(list(self.calls.iterdir())) - before


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    return Squares(tmp_path)


def test_shards_that_are_done_are_not_worked_on_again(
    squares: Squares, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        squares.run(stop_at_three)
    assert len(list(squares.calls.iterdir())) >= 3
    done = len(list(squares.journal.iterdir()))
    assert squares.run() == 5 - done
    assert capsys.readouterr().out == f"continuing: {done} of 5 shards were done\n"
    assert squares.run() == 0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "replaced"])
def test_a_damaged_shard_is_worked_on_again(
    squares: Squares, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert squares.run() == 5
    path = squares.out / shard_name(2)
    whole = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            path.write_bytes(whole[:-1])
        case "flipped":
            whole[-1] ^= 1
            path.write_bytes(whole)
        case "missing":
            path.unlink()
        case "replaced":
            path.write_bytes((squares.out / shard_name(3)).read_bytes())
    assert squares.run() == 1
    assert capsys.readouterr().out.endswith("continuing: 4 of 5 shards were done\n")


@pytest.mark.parametrize("content", [b"", b"no note", b"0" * 64 + b'\n{"result": 5, "files": {}}'])
def test_a_damaged_note_is_no_note(squares: Squares, content: bytes) -> None:
    assert squares.run() == 5
    (squares.journal / "00001.json").write_bytes(content)
    assert squares.run() == 1


def test_a_note_whose_result_was_changed_is_not_believed(squares: Squares) -> None:
    assert squares.run() == 5
    note = squares.journal / "00001.json"
    text = note.read_text(encoding="utf-8")
    assert '"result": [1, 1]' in text
    note.write_text(text.replace('"result": [1, 1]', '"result": [1, 3]'), encoding="utf-8")
    assert squares.run() == 1


def end_first_worker(number: int) -> None:
    if number == 1:
        os._exit(9)
    time.sleep(60)


def test_a_killed_worker_is_one_line_at_once() -> None:
    with pytest.raises(PawprintError, match=r"^squares: a worker process was killed, perhaps for"):
        map_shards(end_first_worker, [1, 2], "squares")
