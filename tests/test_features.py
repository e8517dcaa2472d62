"""The frozen part runs once: its results on disk equal the network on pixels."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pawprint.backbones.build import build_backbone
from pawprint.data.augment import apply_transforms, draw_transforms
from pawprint.data.datasets import LabelledImages
from pawprint.networks.architectures import LOGITS, add_pooling, build_head, chain
from pawprint.runner.files import file_digest
from pawprint.runner.params import AugmentParams, FeaturesParams, FinetuneParams, Params
from pawprint.storage.shards import ShardedArray, shard_name, write_shard
from pawprint.storage.tables import read_csv
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.fit import Validation, train_model
from pawprint.transfer import features
from pawprint.transfer.cut import Cut, read_cut
from pawprint.transfer.features import Extraction, extract_features, find_layer, plan_cut
from pawprint.transfer.finetuning import Inputs, read_features, read_inputs, unfrozen_part
from pawprint.versions.rows import OldRows

# covers: B2, R2, R4, R8, R15

SIZE, CUT = 16, "block1_activation"
COUNTS = {"train": 10, "val": 6}
AUGMENT = AugmentParams(
    rotation=20, shift=0.2, zoom=0.2, flip=True, brightness=0.2, contrast=0.3, saturation=0.5
)


def backbone() -> keras.Model:
    """Two blocks of convolution, batch norm with statistics of its own, and ReLU; pooled."""
    keras.utils.set_random_seed(1)
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(pixels)
    for i in (1, 2):
        x = keras.layers.Conv2D(4 * i, 3, strides=2, name=f"block{i}_conv")(x)
        norm = keras.layers.BatchNormalization(name=f"block{i}_bn")
        x = keras.layers.ReLU(name=f"block{i}_activation")(norm(x))
        norm.moving_mean.assign(np.linspace(-0.1, 0.1, 4 * i))
        norm.moving_variance.assign(np.linspace(0.5, 2, 4 * i))
    model = keras.Model(pixels, x)
    model.trainable = False
    return add_pooling(model, "avg")


def classifier(committed: Params) -> keras.Model:
    model = backbone()
    return chain(model, build_head(committed.head, model.output_shape[-1], 2), "classifier")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PICTURES_PER_FEATURE_SHARD", 4)


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, LabelledImages]:
    rng = np.random.default_rng(0)
    opened = {}
    for name, count in COUNTS.items():
        pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
        write_shard(tmp_path / "processed" / name / shard_name(0), pixels)
        array = ShardedArray(tmp_path / "processed" / name)
        opened[name] = LabelledImages(array, np.arange(count) % 2, [str(i) for i in range(count)])
    return opened


def section(views: int = 1, max_gb: float = 1.0, seed: int = 7) -> FeaturesParams:
    return FeaturesParams(views=views, seed=seed, batch_size=3, precision="float32", max_gb=max_gb)


def finetune(committed: Params, **changes: Any) -> FinetuneParams:
    plain = {"epochs": 3, "batch_size": 4, "schedule": "constant", "lr": 0.01, "head_lr": 0.01}
    plain |= {"precision": "float32"}
    return committed.finetune.model_copy(update=plain | changes)


def extraction(
    splits: dict[str, LabelledImages],
    params: FeaturesParams,
    out: Path,
    layer: str,
    find_old: Callable[[str], OldRows] | None = None,
) -> tuple[Cut, Extraction]:
    model = backbone()
    cut, _ = plan_cut(model, layer, 10 * params.views + 6, params)
    directories = {name: split.images.paths[0].parent for name, split in splits.items()}
    settings = (AUGMENT, params)
    with ThreadPoolExecutor(1) as executor:
        done = extract_features(
            model, cut, directories, *settings, out, executor, find_old=find_old
        )
    assert read_cut(out / "boundary") == cut
    return cut, done


def extract(
    splits: dict[str, LabelledImages], params: FeaturesParams, out: Path, layer: str = CUT
) -> Cut:
    return extraction(splits, params, out, layer)[0]


def pixels_of(images: LabelledImages) -> np.ndarray:
    return images.images.gather(range(len(images)))


def run(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return model(inputs.astype(np.float32), training=False).numpy()


def stored(directory: Path) -> np.ndarray:
    array = ShardedArray(directory)
    return array.gather(range(len(array)))


def test_cached_activations_through_the_tail_equal_the_network_on_pixels(
    splits: dict[str, LabelledImages], tmp_path: Path, committed: Params
) -> None:
    model, cut = classifier(committed), extract(splits, section(), tmp_path / "out")
    tail = unfrozen_part(model, cut, False)
    for name, images in splits.items():
        boundary = stored(tmp_path / "out/boundary" / name)
        assert boundary.dtype == np.float16
        assert boundary.shape == (COUNTS[name], 1, 7, 7, 4)
        expected = run(model, pixels_of(images))
        np.testing.assert_allclose(run(tail, boundary[:, 0]), expected, atol=2e-3, rtol=2e-3)


def test_pooled_features_are_those_of_the_backbone(
    splits: dict[str, LabelledImages], tmp_path: Path
) -> None:
    extract(splits, section(), tmp_path / "out")
    for name, images in splits.items():
        pooled = stored(tmp_path / "out/pooled" / name)
        assert pooled.dtype == np.float32
        expected = run(backbone(), pixels_of(images))
        np.testing.assert_allclose(pooled[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_view_0_is_plain_and_the_others_are_augmented_by_seed_and_view(
    splits: dict[str, LabelledImages], tmp_path: Path
) -> None:
    extract(splits, section(views=3, seed=7), tmp_path / "out")
    pooled = stored(tmp_path / "out/pooled/train")
    assert pooled.shape == (10, 3, 8)
    assert stored(tmp_path / "out/pooled/val").shape == (6, 1, 8)
    images, model = pixels_of(splits["train"]), backbone()
    np.testing.assert_allclose(pooled[:, 0], run(model, images), rtol=1e-4, atol=1e-5)
    for view in (1, 2):
        table = draw_transforms(AUGMENT, 10, SIZE, 7, view)
        expected = run(model, apply_transforms(images, table))
        np.testing.assert_allclose(pooled[:, view], expected, rtol=1e-4, atol=1e-5)
        assert (np.abs(pooled[:, view] - pooled[:, 0]).max(axis=1) > 1e-3).all()


def test_features_do_not_depend_on_the_batch_size(
    splits: dict[str, LabelledImages], tmp_path: Path
) -> None:
    extract(splits, section(views=2), tmp_path / "a")
    extract(splits, section(views=2).model_copy(update={"batch_size": 32}), tmp_path / "b")
    a, b = (stored(tmp_path / name / "pooled/train") for name in "ab")
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def keep(path: Path, cache: Path) -> Path:
    """A copy in DVC's cache, under the name that it has there."""
    md5 = file_digest(path, "md5")
    place = cache / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(path, place))


def old_rows(out: Path, cache: Path) -> OldRows:
    """What an earlier run has made, as DVC's cache has it."""
    old, kinds = OldRows("recipe"), ("boundary", "pooled")
    for split in COUNTS:
        table = read_csv(out / "rows" / f"{split}.csv")
        old.add(
            [row["key"] for row in table],
            [[int(row[kind]) for row in table] for kind in kinds],
            [
                [keep(path, cache) for path in ShardedArray(out / kind / split).paths]
                for kind in kinds
            ],
        )
    return old


def bytes_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.*"))}


@pytest.mark.parametrize(("views", "taken"), [(1, 16), (2, 12)])
def test_rows_of_an_earlier_run_are_taken_for_the_same_pixels_and_transforms(
    views: int, taken: int, splits: dict[str, LabelledImages], tmp_path: Path
) -> None:
    """A picture comes after the sixth of ten; the transforms of a row hang on its number."""
    params, cache = section(views=views), tmp_path / "cache"
    extract(splits, params, tmp_path / "before")
    old, train_pixels = old_rows(tmp_path / "before", cache), splits["train"].images
    new = np.full((1, SIZE, SIZE, 3), 200, np.uint8)
    pixels = np.concatenate([train_pixels.gather(range(6)), new, train_pixels.gather(range(6, 10))])
    train_pixels.paths[0].unlink()
    write_shard(train_pixels.paths[0], pixels)
    extract(splits, params, tmp_path / "fresh")
    done = extraction(splits, params, tmp_path / "grown", CUT, lambda network: old)[1]
    assert done.taken == [f"{taken} of 17 pictures taken from the last version"]
    (tmp_path / "fresh/rows/recipe.txt").write_text("recipe\n")
    assert bytes_of(tmp_path / "grown") == bytes_of(tmp_path / "fresh")


@pytest.mark.parametrize(("layer", "max_gb"), [("", 1.0), (CUT, 0.0)])
def test_activations_that_are_not_kept_leave_no_files(
    layer: str, max_gb: float, splits: dict[str, LabelledImages], tmp_path: Path
) -> None:
    cut = extract(splits, section(max_gb=max_gb), tmp_path / "out", layer)
    assert not cut.cached
    names = sorted(path.name for path in (tmp_path / "out/boundary").iterdir())
    assert names == (["cut.json", "trunk.keras"] if layer else ["cut.json"])
    assert stored(tmp_path / "out/pooled/train").shape == (10, 1, 8)


def test_the_plan_says_what_it_decided_and_why() -> None:
    # 2 bytes · 1,000,000 views · 7 · 7 · 4 = 0.392 GB
    cut, sentence = plan_cut(backbone(), CUT, 1_000_000, section(max_gb=0.4))
    assert cut.cached
    assert sentence == f"activations behind {CUT}: kept (0.39 GB, features.max_gb = 0.4)"
    cut, sentence = plan_cut(backbone(), CUT, 1_000_000, section(max_gb=0.39))
    assert not cut.cached
    assert "not kept, fine-tuning computes them anew" in sentence
    cut, sentence = plan_cut(backbone(), "", 1_000_000, section())
    assert (cut.layer, cut.cached) == ("", False)
    assert "nothing is frozen" in sentence


def inputs_of(
    boundary: Path, cut: Cut, splits: dict[str, LabelledImages], params: FinetuneParams
) -> Inputs:
    return read_inputs(boundary, cut, splits["train"], splits["val"], AUGMENT, params)


def train(
    model: keras.Model, inputs: Inputs, splits: dict[str, LabelledImages], params: FinetuneParams
) -> None:
    batches, val = inputs
    validation = Validation(val, splits["val"].labels)
    with tempfile.TemporaryDirectory() as kept:
        checkpoints, clip_norm = Checkpoints(Path(kept)), params.clip_norm
        train_model(model, batches, 3, validation, params, checkpoints, clip_norm=clip_norm)


def weights_by_layer(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def changed_layers(model: keras.Model, before: dict[str, list[np.ndarray]]) -> set[str]:
    """The layers of which any weight changed, the statistics of batch norm included."""
    return {
        name
        for name, weights in weights_by_layer(model).items()
        if any((new != old).any() for new, old in zip(weights, before[name], strict=True))
    }


@pytest.mark.parametrize(
    ("layer", "max_gb", "changed"),
    [
        (CUT, 1.0, {"block2_conv", LOGITS}),
        (CUT, 0.0, {"block2_conv", LOGITS}),
        ("", 1.0, {"block1_conv", "block2_conv", LOGITS}),
    ],
    ids=["cached", "from pixels", "nothing frozen"],
)
def test_finetuning_changes_the_unfrozen_convolutions_alone(
    layer: str,
    max_gb: float,
    changed: set[str],
    splits: dict[str, LabelledImages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: Params,
) -> None:
    monkeypatch.chdir(tmp_path)
    cut = extract(splits, section(views=2, max_gb=max_gb), tmp_path / "out", layer)
    params, model = finetune(committed), classifier(committed)
    before = weights_by_layer(model)
    part = unfrozen_part(model, cut, False)
    inputs = inputs_of(tmp_path / "out/boundary", cut, splits, params)
    train(part, inputs, splits, params)
    assert changed_layers(model, before) == changed


@pytest.mark.parametrize("name", ["MobileNetV3Large", "VGG16"])
def test_networks_of_keras_are_finetuned_in_bfloat16(
    name: str, splits: dict[str, LabelledImages], tmp_path: Path, committed: Params
) -> None:
    """One has operations that are no layers, the other no batch norm, and ReLU in convolutions."""
    keras.utils.set_random_seed(1)
    network = add_pooling(build_backbone(name, 32, "none"), "avg")
    model = chain(network, build_head(committed.head, network.output_shape[-1], 2), "classifier")
    layer = find_layer(model, committed.model.model_copy(update={"backbone": name}))
    cut = Cut(layer, True, 1, 7, "float32")
    shape = model.get_layer(layer).output.shape[1:]
    for split, count in COUNTS.items():
        activations = np.random.default_rng(count).normal(0, 1, (count, 1, *shape))
        write_shard(tmp_path / split / shard_name(0), activations.astype(np.float16))
    before, part = weights_by_layer(model), unfrozen_part(model, cut, False)
    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    behind = {layer.name for layer in part.layers if isinstance(layer, convolutions)}
    assert 3 <= len(behind) < len([x for x in model.layers if isinstance(x, convolutions)])
    params = finetune(committed, epochs=1, precision="bfloat16", lr=1e-3)
    train(part, inputs_of(tmp_path, cut, splits, params), splits, params)
    assert changed_layers(model, before) == behind | {LOGITS}
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


def test_cached_or_not_the_same_training_gives_the_same_model(
    splits: dict[str, LabelledImages],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    committed: Params,
) -> None:
    """Epoch e sees view e modulo their number, from the files as from pixels."""
    monkeypatch.chdir(tmp_path)
    params = finetune(committed, lr=1e-3, head_lr=1e-3)
    outputs = []
    for name, max_gb in (("cached", 1.0), ("pixels", 0.0)):
        cut = extract(splits, section(views=2, max_gb=max_gb), tmp_path / name)
        model = classifier(committed)
        model.get_layer("head_dropout").rate = 0.0
        start = run(model, pixels_of(splits["val"]))
        inputs = inputs_of(tmp_path / name / "boundary", cut, splits, params)
        train(unfrozen_part(model, cut, False), inputs, splits, params)
        outputs.append(run(model, pixels_of(splits["val"])))
        assert np.abs(outputs[-1] - start).max() > 1e-3
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "max_gb", "said"),
    [(CUT, 1.0, "features of train: "), (CUT, 0.0, "none were kept"), ("", 0.0, "of train: ")],
    ids=["cached", "not kept", "nothing frozen"],
)
def test_what_unlikeness_is_fitted_on_are_the_features_of_plain_pictures(
    layer: str,
    max_gb: float,
    said: str,
    splits: dict[str, LabelledImages],
    tmp_path: Path,
    committed: Params,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = Cut("", False, 1, 7, "float32")
    if layer:
        cut = extract(splits, section(views=2, max_gb=max_gb), tmp_path / "out")
    model, boundary = classifier(committed), tmp_path / "out/boundary"
    expected = run(backbone(), pixels_of(splits["train"]))
    found = list(read_features(boundary, cut, model, splits["train"], "train"))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=2e-3, rtol=2e-3)
    assert said in capsys.readouterr().err
    some = list(read_features(boundary, cut, model, splits["train"], "train", most=4))
    # Evenly spaced: of ten, 0, 3, 6 and 9
    np.testing.assert_allclose(np.concatenate(some), expected[::3], atol=2e-3, rtol=2e-3)


def test_each_epoch_sees_the_next_view(
    splits: dict[str, LabelledImages], tmp_path: Path, committed: Params
) -> None:
    cut = extract(splits, section(views=2), tmp_path / "out")
    params = finetune(committed, epochs=3, batch_size=10)
    batches, val = inputs_of(tmp_path / "out/boundary", cut, splits, params)
    boundary = stored(tmp_path / "out/boundary/train").astype(np.float32)
    for epoch, (inputs, labels) in enumerate(batches(0)):
        assert inputs.dtype == "float32"
        expected = boundary[:, epoch % 2]
        order = [int(np.abs(expected - row).sum((1, 2, 3)).argmin()) for row in inputs.numpy()]
        np.testing.assert_array_equal(inputs, expected[order])
        np.testing.assert_array_equal(labels, np.arange(10)[order] % 2)
    rows = np.concatenate([batch.numpy() for batch in val])
    np.testing.assert_array_equal(rows, stored(tmp_path / "out/boundary/val")[:, 0])


def test_with_nothing_frozen_every_epoch_is_augmented_afresh_and_validation_is_plain(
    splits: dict[str, LabelledImages], committed: Params
) -> None:
    params = finetune(committed, epochs=2, batch_size=10)
    cut = Cut("", False, 1, 7, "float32")
    batches, val = inputs_of(Path("unused"), cut, splits, params)
    images = pixels_of(splits["train"])
    for epoch, (inputs, _) in enumerate(batches(0)):
        order = np.random.default_rng([params.seed, epoch]).permutation(10)
        table = draw_transforms(AUGMENT, 10, SIZE, params.seed, epoch)
        expected = apply_transforms(images, table)[order]
        np.testing.assert_allclose(inputs, expected, atol=1e-3)
    rows = np.concatenate([batch.numpy() for batch in val])
    np.testing.assert_array_equal(rows, pixels_of(splits["val"]))
