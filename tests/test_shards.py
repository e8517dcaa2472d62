"""Arrays as a few files: rows come back in the order asked for, whatever the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pawprint.shards import ShardedArray, map_shards, shard_name, write_shard

# covers: R8, B9

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
