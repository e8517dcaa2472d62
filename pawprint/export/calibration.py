"""What shows an 8-bit network the range of its numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from pawprint.storage.shards import ShardedArray


def calibration_pictures(
    train: ShardedArray, most: int, tells_unlikeness: bool
) -> Iterator[np.ndarray]:
    """Pictures that show the range of every activation, uint8 [1, size, size, 3] each.

    Training pictures, evenly spaced. They are like the training pictures, and integers know no
    larger unlikeness than these show: so every tenth comes again as a pattern, which is not.

    Args:
        train: the training pictures.
        most: how many of them.
        tells_unlikeness: whether patterns are wanted.
    """
    rows = np.linspace(0, len(train) - 1, min(most, len(train))).round().astype(int)
    for place, row in enumerate(tqdm(rows, desc="calibration", unit="picture")):
        picture = train.gather([row])
        yield picture
        if tells_unlikeness and place % 10 == 0:
            yield repeat_patch(picture)


def repeat_patch(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture, an eighth of its side, again and again over all of it.

    Args:
        picture: [1, size, size, 3], size 8 at least.
    """
    size = picture.shape[1]
    side, start = size // 8, size * 7 // 16
    patch = picture[:, start : start + side, start : start + side]
    times = -(-size // side)
    return np.tile(patch, (1, times, times, 1))[:, :size, :size]
