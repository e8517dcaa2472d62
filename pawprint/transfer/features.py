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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pawprint.networks.predictor import Precision, save_network
from pawprint.registry.backbones import INPUT, block_end, choose_cut, find_backbone
from pawprint.runner.journal import map_shards, tell_work_stays, works_elsewhere
from pawprint.runner.params import AugmentParams, FeaturesParams, ModelParams
from pawprint.runner.processes import available_cores, worker_pool
from pawprint.storage.shards import ShardedArray, shard_name
from pawprint.transfer.cut import Cut, write_cut
from pawprint.transfer.extraction import (
    ExtractedShard,
    FeatureShard,
    extract_shard,
    extraction_task,
    open_once,
)
from pawprint.transfer.feature_keys import hash_network, hash_views
from pawprint.versions.rows import (
    ROWS,
    OldRows,
    ShardCopy,
    describe_taken,
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


@contextmanager
def start_workers(engine: str) -> Iterator[Executor | None]:
    """What runs ``extract_shard``: a process for each core, which start at once; None: a cluster.

    Args:
        engine: from ``start_engine``. TensorFlow has a GPU, which one process has to itself.
    """
    if engine == "tensorflow":
        tell_work_stays("features")
        with ThreadPoolExecutor(1) as worker:
            yield worker
    elif works_elsewhere():
        yield None
    else:
        with worker_pool("features", __name__, "openvino") as workers:
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
    workers: Executor | None,
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
        if workers is not None and len(known) < len(shards):
            _warm_up(workers, network, params.precision)
        start = time.monotonic()
        shard_task = (
            None
            if isinstance(workers, ThreadPoolExecutor)
            else extraction_task(network, params.precision)
        )
        done = map_shards(extract_shard, shards, "features", workers, journal, known, shard_task)
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
    open_once(network, precision)


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
