"""How alike the pictures of pairs are; what an earlier run has found is not measured again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pawprint.inspection.alignment import similarity
from pawprint.inspection.candidates import Candidates, parts
from pawprint.runner.journal import map_shards
from pawprint.storage.shards import ShardedArray

_PAIRS_PER_SHARD = 256
_FEW = 512  # pairs that are compared before a pool has started

Pair = tuple[str, str]  # SHA-256 of two files, the lesser first


@dataclass(frozen=True)
class PairShard:
    pixels: Path
    first: np.ndarray
    second: np.ndarray
    zoom: np.ndarray
    mirrored: np.ndarray


@dataclass
class Similarities:
    """Of pairs of files: they follow from the two files alone.

    Attributes:
        known: from an earlier run.
        used: of all pairs that were asked for.
    """

    known: Mapping[Pair, float] = field(default_factory=dict)
    used: dict[Pair, float] = field(default_factory=dict)

    def compare(
        self, digests: Sequence[str], pixels: Path, rows: np.ndarray, pairs: Candidates
    ) -> np.ndarray:
        """See ``compare_candidates``.

        Args:
            digests: SHA-256 of the picture in each of ``rows``, sorted.
            pixels: as there.
            rows: as there.
            pairs: as there.
        """
        names = [(digests[i], digests[j]) for i, j in zip(pairs.first, pairs.second, strict=True)]
        missing = np.array([name not in self.known for name in names], bool)
        new = iter(compare_candidates(pixels, rows, Candidates(*(a[missing] for a in pairs))))
        found = [
            float(next(new)) if lacks else self.known[name]
            for name, lacks in zip(names, missing, strict=True)
        ]
        self.used |= zip(names, found, strict=True)
        return np.array(found, np.float32)


def compare_candidates(pixels: Path, rows: np.ndarray, pairs: Candidates) -> np.ndarray:
    """Lay the pictures of each pair over each other, in a pool of processes where they are many.

    Args:
        pixels: directory of shards, uint8 [n, 64, 64], grey.
        rows: of the pictures there, int64 [k].
        pairs: of them.

    Returns:
        float32, one for each pair, 0...1: how alike its pictures are.
    """
    shards = [
        PairShard(
            pixels,
            rows[pairs.first[part]],
            rows[pairs.second[part]],
            pairs.zoom[part],
            pairs.mirrored[part],
        )
        for part in parts(len(pairs.first), _PAIRS_PER_SHARD)
    ]
    if len(pairs.first) <= _FEW:
        results = list(map(_compare_shard, shards))
    else:
        results = map_shards(_compare_shard, shards, "comparing")
    return np.concatenate([np.zeros(0, np.float32), *results])


def _compare_shard(shard: PairShard) -> np.ndarray:
    pixels = _open_once(shard.pixels)
    second = pixels.gather(shard.second)
    second[shard.mirrored] = second[shard.mirrored, :, ::-1]
    return similarity(pixels.gather(shard.first), second, shard.zoom)


@lru_cache(maxsize=1)
def _open_once(pixels: Path) -> ShardedArray:
    return ShardedArray(pixels)
