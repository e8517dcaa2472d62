"""One shard of pictures run through the frozen network, by a process here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pawprint.networks.predictor import Precision, Predictor, open_predictor, predict
from pawprint.runner.journal import ShardTask, Tool
from pawprint.runner.params import AugmentParams
from pawprint.storage.shards import ShardedArray, write_shard
from pawprint.transfer.cut import PixelRows, read_view, view_transforms
from pawprint.versions.rows import Place, read_rows, sum_rows


@dataclass(frozen=True)
class FeatureShard:
    """The work of one process: run these rows of a split through a network.

    Attributes:
        network: file from ``save_network``: pixels → the activations of each of ``outputs``.
        precision: of its arithmetic.
        images: directory of the split's pixels.
        rows: of these pixels.
        count: pictures of the whole split.
        views: how many; the first is the plain picture.
        seed: of the augmented views.
        augment: how they are changed.
        batch_size: pictures handed to the network at once.
        outputs: for each of the network's outputs, the file to write and its type.
        keys: of each row, what its outputs follow from: see ``hash_views``.
        places: of each row, where the last version has its outputs.
    """

    network: Path
    precision: Precision
    images: Path
    rows: range
    count: int
    views: int
    seed: int
    augment: AugmentParams
    batch_size: int
    outputs: tuple[tuple[Path, str], ...]
    keys: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def files(self) -> list[Path]:
        return [path for path, _ in self.outputs]


class ExtractedShard(NamedTuple):
    """What became of a shard.

    Attributes:
        sums: for each output the CRC-32 of its rows.
        taken: how many of these the last version had.
    """

    sums: list[list[int]]
    taken: int


def extract_shard(shard: FeatureShard) -> ExtractedShard:
    """Write the outputs of one shard."""
    old = _read_old(shard)
    missing = _find_missing(old)
    made: list[np.ndarray] = []
    if missing:
        predictor = open_once(shard.network, shard.precision)
        images = _open_images_once(shard.images)
        rows = np.array(shard.rows)[missing]
        made = _run_rows(predictor, images, rows, _draw_tables(shard, images), shard.batch_size)
    return _write(shard, old, made)


OldOutputs = Sequence[Sequence[np.ndarray | None]]  # for each output, of a shard's pictures


def _read_old(shard: FeatureShard) -> OldOutputs:
    """What the last version has."""
    places = shard.places or (None,) * len(shard.rows)
    return [
        read_rows([place[number] if place else None for place in places])
        for number in range(len(shard.outputs))
    ]


def _find_missing(old: OldOutputs) -> list[int]:
    return [i for i, rows in enumerate(zip(*old, strict=True)) if any(r is None for r in rows)]


def _draw_tables(shard: FeatureShard, images: ShardedArray) -> Iterator[np.ndarray | None]:
    """The transforms of each view, of all pictures of the split."""
    for view in range(shard.views):
        yield view_transforms(shard.augment, shard.count, images.shape[1], shard.seed, view)


def _run_rows(
    predictor: Predictor,
    images: PixelRows,
    rows: np.ndarray,
    tables: Iterable[np.ndarray | None],
    batch_size: int,
) -> list[np.ndarray]:
    """For each output, float32 [k, views, ...] of some rows of the images."""
    views = []
    for table in tables:
        batches = _read_ahead(images, rows, table, batch_size)
        views.append([np.concatenate(a) for a in zip(*predict(predictor, batches), strict=True)])
    return [np.stack(arrays, axis=1) for arrays in zip(*views, strict=True)]


def _write(shard: FeatureShard, old: OldOutputs, made: Sequence[np.ndarray]) -> ExtractedShard:
    missing = _find_missing(old)
    sums = []
    for number, (path, dtype) in enumerate(shard.outputs):
        rows = list(old[number])
        if missing:
            for i, row in zip(missing, made[number].astype(dtype), strict=True):
                rows[i] = row
        array = np.stack([row for row in rows if row is not None])
        write_shard(path, array)
        sums.append(sum_rows(array))
    return ExtractedShard(sums, len(shard.rows) - len(missing))


@dataclass(frozen=True)
class SentPixels:
    """Pixels in memory, uint8 [k, size, size, 3], that are read as a ``ShardedArray`` is."""

    pixels: np.ndarray

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


class ExtractionOrder(NamedTuple):
    """Pictures to run, wherever that is done.

    Attributes:
        pixels: uint8 [k, size, size, 3].
        tables: of each view, their transforms, [k, 9], or None.
        batch_size: see ``FeatureShard``.
        dtypes: see ``FeatureShard.outputs``.
    """

    pixels: np.ndarray
    tables: list[np.ndarray | None]
    batch_size: int
    dtypes: tuple[str, ...]


def extraction_task(network: Path, precision: Precision) -> ShardTask:
    """How ``extract_shard`` is done elsewhere, by OpenVINO.

    Args:
        network: see ``FeatureShard``.
        precision: see there.
    """
    files = (network, network.with_suffix(".bin"))
    tool = Tool(files, partial(_open_in, name=network.name, precision=precision))
    return ShardTask(_read_shard, _run_sent, _write, lambda s: len(s.rows) * s.views, tool)


def _open_in(directory: Path, name: str, precision: Precision) -> Predictor:
    return open_predictor(directory / name, precision, cores=1)


def _read_shard(shard: FeatureShard) -> tuple[ExtractionOrder, OldOutputs]:
    old = _read_old(shard)
    images = _open_images_once(shard.images)
    rows = np.array(shard.rows)[_find_missing(old)]
    tables = [None if t is None else t[rows] for t in _draw_tables(shard, images)]
    dtypes = tuple(dtype for _, dtype in shard.outputs)
    return ExtractionOrder(images.gather(rows), tables, shard.batch_size, dtypes), old


def _run_sent(order: ExtractionOrder, predictor: Predictor) -> list[np.ndarray]:
    """For each output, [k, views, ...] of its type."""
    rows = np.arange(len(order.pixels))
    if not len(rows):
        return []
    made = _run_rows(predictor, SentPixels(order.pixels), rows, order.tables, order.batch_size)
    return [array.astype(dtype) for array, dtype in zip(made, order.dtypes, strict=True)]


@lru_cache(maxsize=1)
def open_once(network: Path, precision: Precision) -> Predictor:
    """A network, opened once by each process."""
    return open_predictor(network, precision, cores=1)


@lru_cache(maxsize=1)
def _open_images_once(directory: Path) -> ShardedArray:
    return ShardedArray(directory)


def _read_ahead(
    images: PixelRows, rows: np.ndarray, table: np.ndarray | None, size: int
) -> Iterator[np.ndarray]:
    """Batches, each read and augmented while the network works on the one before."""
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read_view, images, batches[0], table)
        for batch in [*batches[1:], None]:
            ready = coming.result()
            if batch is not None:
                coming = reader.submit(read_view, images, batch, table)
            yield ready
