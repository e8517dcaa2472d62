"""The frozen part of the network, run once, and its results on disk.

    data/features/pooled/<split>/00000.npy     float32 [n, views, d]: what the head sees
    data/features/boundary/<split>/00000.npy   float16 [n, views, h, w, c]: activations at the cut
    data/features/boundary/cut.json            where the cut is, and whether it is kept

View 0 is the plain picture, the others are augmented by (seed, view, row); validation has view 0
alone. The test split is not touched here: evaluation runs whole models on pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from pawprint.augment import apply_transforms, draw_transforms
from pawprint.datasets import LabelledImages
from pawprint.files import write_json
from pawprint.params import AugmentParams, FeaturesParams
from pawprint.predictor import Predictor
from pawprint.shards import ShardedArray, shard_name, write_shard

PICTURES_PER_SHARD = 256


@dataclass(frozen=True)
class Cut:
    """Where the network is cut.

    Attributes:
        layer: the last frozen layer; empty: nothing is frozen, the boundary is the input.
        cached: whether the activations there are on disk.
        views: of each training picture.
        seed: of the augmented views.
    """

    layer: str
    cached: bool
    views: int
    seed: int


def plan_cut(
    model: keras.Model, layer: str, num_views: int, params: FeaturesParams
) -> tuple[Cut, str]:
    """Decide whether the activations at the cut are kept, within ``features.max_gb``.

    Args:
        model: the pooled backbone.
        layer: the last frozen layer; empty for the input.
        num_views: pictures times views that would be kept.
        params: views, seed, limit.

    Returns:
        The cut, and a sentence for the user that says what was decided and why.
    """
    if not layer:
        return Cut(
            "", False, params.views, params.seed
        ), "nothing is frozen: no activations to keep"
    size = 2 * num_views * int(np.prod(model.get_layer(layer).output.shape[1:])) / 1e9
    cached = size <= params.max_gb
    verb = "kept" if cached else "not kept, fine-tuning computes them anew"
    reason = f"{size:.2f} GB, features.max_gb = {params.max_gb:g}"
    sentence = f"activations behind {layer}: {verb} ({reason})"
    return Cut(layer, cached, params.views, params.seed), sentence


def extract_features(
    model: keras.Model,
    cut: Cut,
    splits: dict[str, LabelledImages],
    augment: AugmentParams,
    params: FeaturesParams,
    out: Path,
) -> None:
    """Write what is described at the top of this module.

    Args:
        model: pixels → pooled features.
        cut: from ``plan_cut``.
        splits: ``train`` and ``val``.
        augment: of the views beyond the first.
        params: views, seed, batch size.
        out: the directory to fill.
    """
    outputs = [model.get_layer(cut.layer).output] if cut.cached else []
    predictor = Predictor(keras.Model(model.input, [*outputs, model.output]))
    total = sum(
        len(images) * (cut.views if name == "train" else 1) for name, images in splits.items()
    )
    with tqdm(total=total, desc="features", unit="img") as progress:
        for name, images in splits.items():
            views = cut.views if name == "train" else 1
            transforms = _draw_views(augment, images, views, params.seed)
            for number, start in enumerate(range(0, len(images), PICTURES_PER_SHARD)):
                rows = range(start, min(start + PICTURES_PER_SHARD, len(images)))
                arrays = _run_rows(predictor, images, rows, transforms, params.batch_size)
                progress.update(len(rows) * views)
                write_shard(out / "pooled" / name / shard_name(number), arrays[-1])
                if cut.cached:
                    activations = arrays[0].astype(np.float16)
                    write_shard(out / "boundary" / name / shard_name(number), activations)
    boundary = out / "boundary"
    write_json(boundary / "cut.json", asdict(cut))


def read_cut(boundary: Path) -> Cut:
    return Cut(**json.loads((boundary / "cut.json").read_text()))


def _draw_views(
    augment: AugmentParams, images: LabelledImages, views: int, seed: int
) -> list[np.ndarray | None]:
    """The transforms of each view, [n, 11]; None for the plain one."""
    size_px = images.images.shape[1]
    return [
        draw_transforms(augment, len(images), size_px, seed, view) if view else None
        for view in range(views)
    ]


def _run_rows(
    predictor: Predictor,
    images: LabelledImages,
    rows: range,
    transforms: list[np.ndarray | None],
    batch_size: int,
) -> list[np.ndarray]:
    """Every output of the predictor for these rows, [len(rows), views, ...] each."""
    views = []
    for table in transforms:
        batches = predictor.predict(_batches(images.images, rows, table, batch_size))
        views.append([np.concatenate(arrays) for arrays in zip(*batches, strict=True)])
    return [np.stack(arrays, axis=1) for arrays in zip(*views, strict=True)]


def _batches(
    images: ShardedArray, rows: range, transforms: np.ndarray | None, size: int
) -> Iterator[np.ndarray]:
    for start in range(rows.start, rows.stop, size):
        batch = np.arange(start, min(start + size, rows.stop))
        pixels = images.gather(batch)
        yield pixels if transforms is None else apply_transforms(pixels, transforms[batch]).numpy()
