"""Inputs that are pixels: those of validation are resized once, as the saved model does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pawprint.data.datasets import LabelledImages, plain_batches
from pawprint.data.pixel_batches import pixel_batches, resize_once
from pawprint.networks.architectures import build_resizing
from pawprint.runner.params import Params
from pawprint.storage.shards import ShardedArray, write_shard

# covers: R4, R8, B1

pytestmark = pytest.mark.usefixtures("tensorflow")

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3)).astype(np.uint8)


@pytest.fixture
def stored(tmp_path: Path) -> ShardedArray:
    write_shard(tmp_path / "stored/0.npy", PICTURES)
    return ShardedArray(tmp_path / "stored")


def test_pictures_are_those_of_the_saved_model(stored: ShardedArray, tmp_path: Path) -> None:
    resizing = build_resizing(24, 8)
    found = resize_once(stored, resizing, 3, tmp_path / "kept")
    expected = resizing(PICTURES.astype(np.float32)).numpy()
    assert (found.shape, found.dtype) == ((7, 8, 8, 3), np.float32)
    np.testing.assert_allclose(found.gather(range(7)), expected, atol=1e-4)


def test_a_run_that_goes_on_does_not_resize_again(stored: ShardedArray, tmp_path: Path) -> None:
    first = resize_once(stored, build_resizing(24, 8), 3, tmp_path / "kept").gather(range(7))

    def refuse(_: tf.Tensor) -> tf.Tensor:
        raise AssertionError("they are there")

    again = resize_once(stored, refuse, 3, tmp_path / "kept")
    np.testing.assert_array_equal(again.gather(range(7)), first)


def test_what_was_stopped_begins_anew(stored: ShardedArray, tmp_path: Path) -> None:
    resizing, seen = build_resizing(24, 8), []

    def stop(pixels: np.ndarray) -> tf.Tensor:
        seen.append(len(pixels))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return resizing(pixels)

    with pytest.raises(KeyboardInterrupt):
        resize_once(stored, stop, 3, tmp_path / "kept")
    assert seen == [3, 3]
    assert len(resize_once(stored, resizing, 3, tmp_path / "kept")) == 7


def test_no_thread_tunes_what_training_and_validation_read(
    stored: ShardedArray, committed: Params
) -> None:
    """It can hold up the end of a training, see CONTRIBUTING.md."""
    train = LabelledImages(stored, np.arange(7) % 2, [str(i) for i in range(7)])
    batches, val = pixel_batches(train, stored, committed.augment, committed.baseline, 24)
    alone = plain_batches(stored.gather, 7, 2, lambda x: x)
    for dataset in (batches(0), val, alone):
        assert dataset.options().autotune.enabled is False
    assert [len(images) for images in alone] == [2, 2, 2, 1]
    assert [images.shape for images in val] == [(7, 24, 24, 3)]
