"""Training pictures in the size that a network sees, made once for all epochs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.runner.journal import map_shards
from pawprint.storage.shards import ShardedArray, shard_name, write_shard

RESIZED_PER_SHARD = 128


@dataclass(frozen=True)
class ResizedShard:
    """Rows of the pictures, and the file of the resized ones."""

    rows: range
    file: Path

    @property
    def files(self) -> list[Path]:
        return [self.file]


def resize_pixels(
    images: ShardedArray, resize: Callable[[np.ndarray], Any], directory: Path
) -> ShardedArray:
    """Resize all pictures; what a stopped run left in the directory is taken.

    Args:
        images: uint8 [n, size, size, 3].
        resize: uint8 [k, size, size, 3] → float32 [k, target, target, 3] in 0...255.
        directory: of the result, for these pictures and this target alone.

    Returns:
        uint8 [n, target, target, 3], rounded.
    """
    pixels, notes = directory / "pixels", directory / "notes"
    for place in (pixels, notes):
        place.mkdir(parents=True, exist_ok=True)

    def work(shard: ResizedShard) -> None:
        resized = np.asarray(resize(images.gather(shard.rows)))
        write_shard(shard.file, np.rint(resized).astype(np.uint8))

    starts = range(0, len(images), RESIZED_PER_SHARD)
    shards = [
        ResizedShard(
            range(start, min(start + RESIZED_PER_SHARD, len(images))), pixels / shard_name(i)
        )
        for i, start in enumerate(starts)
    ]
    with ThreadPoolExecutor(1) as one_after_the_other:  # resizing itself uses all cores
        map_shards(work, shards, "resizing", one_after_the_other, notes)
    return ShardedArray(pixels)
