"""The frozen part of the network, run once, and its results on disk.

    data/features/pooled/<split>/00000.npy     float32 [n, views, d]: what the head sees
    data/features/boundary/<split>/00000.npy   float16 [n, views, h, w, c]: activations at the cut
    data/features/boundary/cut.json            where the cut is, and whether they are kept
    data/features/boundary/trunk.*             instead of the activations, if they are too large
    data/features/rows/                        by which the next run knows them: see
                                               pawprint/versions/rows.py

View 0 is the plain picture, the others are augmented by (seed, view, row); validation has view 0
alone. The test split is not touched here: evaluation runs whole models on pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pawprint.networks.predictor import (
    Precision,
    Predictor,
    open_predictor,
    predict,
    save_network,
)
from pawprint.registry.backbones import INPUT, block_end, choose_cut, find_backbone
from pawprint.runner.journal import map_shards
from pawprint.runner.params import AugmentParams, FeaturesParams, ModelParams
from pawprint.runner.processes import available_cores, worker_pool
from pawprint.storage.shards import ShardedArray, shard_name, write_shard
from pawprint.transfer.cut import Cut, read_view, view_transforms, write_cut
from pawprint.transfer.feature_keys import hash_network, hash_views
from pawprint.versions.rows import (
    ROWS,
    OldRows,
    Place,
    ShardCopy,
    describe_taken,
    read_rows,
    sum_rows,
    write_index,
    write_recipe,
)

if TYPE_CHECKING:
    import keras

PICTURES_PER_FEATURE_SHARD = 64


@dataclass(frozen=True)
class Extraction:
    """What ``extract_features`` has done.

    Attributes:
        pictures: of all splits, each view counted.
        views: of each training picture.
        seconds: that the work on the shards took, without its start; None where it was continued,
            or not all of it was to be done.
        taken: lines that say what the last version had.
    """

    pictures: int
    views: int
    seconds: float | None
    taken: Sequence[str] = ()

    def describe(self, out: Path) -> str:
        """For the user, who finds the features in `out`."""
        kind = "pictures" if self.views == 1 else "views of pictures"
        rate = "" if self.seconds is None else f" ({self.pictures / self.seconds:.1f} images/s)"
        return "\n".join([*self.taken, f"features of {self.pictures} {kind} in {out}/{rate}"])


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


@contextmanager
def start_workers(engine: str) -> Iterator[Executor]:
    """What runs ``extract_shard``: a process for each core, which start at once.

    Args:
        engine: from ``start_engine``. TensorFlow has a GPU, which one process has to itself.
    """
    on_gpu = engine == "tensorflow"
    with (
        ThreadPoolExecutor(1)
        if on_gpu
        else worker_pool("features", __name__, "openvino") as workers
    ):
        yield workers


def find_layer(model: keras.Model, params: ModelParams) -> str:
    """The last frozen layer of a backbone; empty if nothing is frozen."""
    backbone = find_backbone(params.backbone)
    cut = choose_cut(backbone, params.cut)
    if cut == INPUT:
        return ""
    return block_end(backbone, [layer.name for layer in model.layers], cut)


def count_views(splits: Mapping[str, Path], params: FeaturesParams) -> int:
    """Pictures of all splits; of the training pictures each view counts."""
    views = {name: params.views if name == "train" else 1 for name in splits}
    return sum(len(ShardedArray(path)) * views[name] for name, path in splits.items())


def plan_cut(
    model: keras.Model, layer: str, num_views: int, params: FeaturesParams
) -> tuple[Cut, str]:
    """Decide whether the activations at the cut are kept, within ``features.max_gb``.

    Args:
        model: the pooled backbone.
        layer: from ``find_layer``.
        num_views: from ``count_views``.
        params: views, seed, precision, limit.

    Returns:
        The cut, and a sentence for the user that says what was decided and why.
    """
    if not layer:
        cut = Cut("", False, params.views, params.seed, params.precision)
        return cut, "nothing is frozen: no activations to keep"
    size = 2 * num_views * int(np.prod(model.get_layer(layer).output.shape[1:])) / 1e9
    cached = size <= params.max_gb
    verb = "kept" if cached else "not kept, fine-tuning computes them anew in every epoch"
    reason = f"{size:.2f} GB, features.max_gb = {params.max_gb:g}"
    sentence = f"activations behind {layer}: {verb} ({reason})"
    return Cut(layer, cached, params.views, params.seed, params.precision), sentence


def extract_features(
    model: keras.Model,
    cut: Cut,
    splits: Mapping[str, Path],
    augment: AugmentParams,
    params: FeaturesParams,
    out: Path,
    workers: Executor,
    journal: Path | None = None,
    find_old: Callable[[str], OldRows] | None = None,
) -> Extraction:
    """Write what is described at the top of this module.

    Args:
        model: pixels → pooled features.
        cut: from ``plan_cut``.
        splits: directories of the pixels of ``train`` and ``val``.
        augment: of the views beyond the first.
        params: views, seed, batch size, precision.
        out: the directory to fill.
        workers: from ``start_workers``.
        journal: see ``map_shards``.
        find_old: SHA-256 of the network → the last version, from ``open_rows``. For an engine that
            gives a picture the same bits whatever its neighbours in a batch are; else None.
    """
    continued = journal is not None and journal.exists()
    boundary = out / "boundary"
    write_cut(boundary, cut)
    if cut.layer and not cut.cached:
        save_network(model, [cut.layer], boundary / "trunk")
    layers = [*([cut.layer] if cut.cached else []), model.layers[-1].name]
    network = save_network(model, layers, out / "network")
    try:
        shards = _list_shards(network, cut, splits, augment, params, out)
        old = find_old(hash_network(network)) if find_old else OldRows()
        shards = [replace(shard, places=old.find(shard.keys)) for shard in shards]
        jobs = [ShardCopy(shard.keys, tuple(shard.files)) for shard in shards]
        known = {i: ExtractedShard(sums, len(sums[0])) for i, sums in old.copy_shards(jobs).items()}
        if len(known) < len(shards):
            _warm_up(workers, network, params.precision)
        start = time.monotonic()
        done = map_shards(extract_shard, shards, "features", workers, journal, known)
        seconds = time.monotonic() - start
    finally:
        for path in out.glob("network.*"):
            path.unlink()
    results = [ExtractedShard(*result) for result in done]
    _write_index(out / ROWS, shards, results, old.recipe)
    taken = sum(result.taken for result in results)
    found = sum(place is not None for shard in shards for place in shard.places)
    total = sum(len(shard.rows) for shard in shards)
    lines = describe_taken(taken, found, total, old)
    whole = not continued and not taken
    return Extraction(count_views(splits, params), params.views, seconds if whole else None, lines)


def _warm_up(workers: Executor, network: Path, precision: Precision) -> None:
    """Have the processes open the network, as many as there are."""
    opened = [workers.submit(_open, network, precision) for _ in range(available_cores())]
    for future in opened:
        future.result()


def _open(network: Path, precision: Precision) -> None:
    _open_once(network, precision)


def _list_shards(
    network: Path,
    cut: Cut,
    splits: Mapping[str, Path],
    augment: AugmentParams,
    params: FeaturesParams,
    out: Path,
) -> list[FeatureShard]:
    shards = []
    for name, images in splits.items():
        views = cut.views if name == "train" else 1
        keys = hash_views(images, augment, params.seed, views)
        for number, start in enumerate(range(0, len(keys), PICTURES_PER_FEATURE_SHARD)):
            rows = range(start, min(start + PICTURES_PER_FEATURE_SHARD, len(keys)))
            pooled = (out / "pooled" / name / shard_name(number), "float32")
            kept = (out / "boundary" / name / shard_name(number), "float16")
            shards.append(
                FeatureShard(
                    network,
                    params.precision,
                    images,
                    rows,
                    len(keys),
                    views,
                    params.seed,
                    augment,
                    params.batch_size,
                    (kept, pooled) if cut.cached else (pooled,),
                    tuple(keys[rows.start : rows.stop]),
                )
            )
    return shards


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
    places = shard.places or (None,) * len(shard.rows)
    old = [
        read_rows([place[number] if place else None for place in places])
        for number in range(len(shard.outputs))
    ]
    missing = [i for i, rows in enumerate(zip(*old, strict=True)) if any(r is None for r in rows)]
    made: Sequence[Iterable[np.ndarray]] = [()] * len(old)
    if missing:
        made = _run_rows(shard, np.array(shard.rows)[missing])
    sums = []
    for rows, new, (path, _) in zip(old, made, shard.outputs, strict=True):
        for i, row in zip(missing, new, strict=True):
            rows[i] = row
        array = np.stack([row for row in rows if row is not None])
        write_shard(path, array)
        sums.append(sum_rows(array))
    return ExtractedShard(sums, len(shard.rows) - len(missing))


def _run_rows(shard: FeatureShard, rows: np.ndarray) -> list[np.ndarray]:
    """For each output, [k, views, ...] of some rows of the split."""
    predictor = _open_once(shard.network, shard.precision)
    images = _open_images_once(shard.images)
    size_px = images.shape[1]
    views = []
    for view in range(shard.views):
        table = view_transforms(shard.augment, shard.count, size_px, shard.seed, view)
        batches = _read_ahead(images, rows, table, shard.batch_size)
        views.append([np.concatenate(a) for a in zip(*predict(predictor, batches), strict=True)])
    return [
        np.stack(arrays, axis=1).astype(dtype)
        for arrays, (_, dtype) in zip(zip(*views, strict=True), shard.outputs, strict=True)
    ]


def _write_index(
    index: Path, shards: Sequence[FeatureShard], results: Sequence[ExtractedShard], recipe: str
) -> None:
    for split in sorted({shard.images.name for shard in shards}):
        of_split = [i for i, shard in enumerate(shards) if shard.images.name == split]
        keys = [key for i in of_split for key in shards[i].keys]
        names = [path.parent.parent.name for path, _ in shards[of_split[0]].outputs]
        columns = {
            name: [crc32 for i in of_split for crc32 in results[i].sums[number]]
            for number, name in enumerate(names)
        }
        write_index(index, split, keys, columns)
    write_recipe(index, recipe)


@lru_cache(maxsize=1)
def _open_once(network: Path, precision: Precision) -> Predictor:
    return open_predictor(network, precision, cores=1)


@lru_cache(maxsize=1)
def _open_images_once(directory: Path) -> ShardedArray:
    return ShardedArray(directory)


def _read_ahead(
    images: ShardedArray, rows: np.ndarray, table: np.ndarray | None, size: int
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
