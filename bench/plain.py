"""The plain way: transfer learning as a good Keras tutorial writes it, and what it costs.

Pictures in class folders, ``image_dataset_from_directory``, augmentation layers, a frozen backbone
with a head behind it; then the top of the backbone unfrozen. Every epoch decodes every picture and
runs all layers. It reads params.yaml and the pictures of a Pawprint project, in whose directory it
is started, so that both ways see the same pictures, weights and settings:

    python -m bench.plain train              # both phases, to the end, and their test accuracy
    python -m bench.plain train --steps 20   # 20 batches of each kind; the phases extrapolated
    python -m bench.plain baseline --steps 20    # the CNN from scratch, an epoch
    python -m bench.plain features           # the features of all pictures, already decoded

The last line that it prints is JSON: seconds of wall clock and of CPU, and the accuracy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from pawprint.backbones.build import build_backbone, chosen_weights
from pawprint.data.manifest import SPLITS, read_manifest
from pawprint.registry.backbones import (
    INPUT,
    block_end,
    choose_cut,
    choose_image_size,
    find_backbone,
)
from pawprint.runner.errors import PawprintError
from pawprint.runner.params import AugmentParams, Params
from pawprint.runner.params_file import load_params
from pawprint.storage.shards import ShardedArray

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Report = dict[str, dict[str, float]]  # what was measured → its figures
WARM_UP = 4  # batches before the timed ones: the input pipeline fills its buffers
PREDICT_BATCH = 32


@dataclass(frozen=True)
class Cost:
    """Seconds of wall clock, and of all of this process's threads."""

    wall_s: float
    cpu_s: float

    @staticmethod
    def now() -> Cost:
        return Cost(time.perf_counter(), time.process_time())

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.wall_s * factor, self.cpu_s * factor)


@dataclass(frozen=True)
class Pictures:
    """A split as batches of (float32 [n, size, size, 3] in 0...255, int32 [n] labels)."""

    batches: tf.data.Dataset
    count: int
    batch_size: int


def unpack(root: Path, out: Path) -> None:
    """Unpack the decodable pictures into ``<split>/<class>/``."""
    with open(root / "data/processed/quarantine.csv", encoding="utf-8", newline="") as file:
        bad = {row["path"] for row in csv.DictReader(file)}
    pictures = read_manifest(root / "data/split.csv")
    for class_name in {picture.class_name for picture in pictures}:
        for split in SPLITS:  # also where a class has no picture: folders give labels
            (out / split / class_name).mkdir(parents=True)
    with ZipFile(root / "data/raw/images.zip") as archive:
        for picture in pictures:
            if picture.path not in bad:
                target = out / picture.split / picture.class_name / Path(picture.path).name
                target.write_bytes(archive.read(picture.path))


def load_pictures(directory: Path, size_px: int, batch_size: int, shuffle: bool) -> Pictures:
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        directory,
        image_size=(size_px, size_px),
        batch_size=batch_size,
        shuffle=shuffle,
        verbose=False,
    )
    count = len(dataset.file_paths)
    return Pictures(dataset.prefetch(tf.data.AUTOTUNE), count, batch_size)


def build_augmentation(params: AugmentParams) -> keras.Sequential:
    """Random changes of pixels in 0...255; those that params.yaml switches off are left out."""
    from keras import Sequential, layers

    steps = [
        layers.RandomFlip("horizontal") if params.flip else None,
        layers.RandomRotation(params.rotation / 360) if params.rotation else None,
        layers.RandomZoom(params.zoom) if params.zoom else None,
        layers.RandomTranslation(params.shift, params.shift) if params.shift else None,
        layers.RandomBrightness(params.brightness) if params.brightness else None,
        layers.RandomContrast(params.contrast) if params.contrast else None,
    ]
    return Sequential([step for step in steps if step], name="augmentation")


def build_network(
    backbone: keras.Model, augmentation: keras.Sequential, dropout: float, num_classes: int
) -> keras.Model:
    """A frozen backbone with a head.

    Returns:
        float32 [n, size, size, 3] pixels in 0...255 → float32 [n, num_classes] logits.
    """
    import keras
    from keras import layers

    backbone.trainable = False
    pixels = keras.Input(backbone.input_shape[1:])
    x = augmentation(pixels)
    x = backbone(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(pixels, layers.Dense(num_classes)(x))


def unfreeze_top(backbone: keras.Model, last_frozen: str) -> None:
    """Make the layers behind one of them trainable, except for batch norm; '': all layers."""
    from keras import layers

    backbone.trainable = True
    frozen = bool(last_frozen)
    for layer in backbone.layers:
        layer.trainable = not frozen and not isinstance(layer, layers.BatchNormalization)
        frozen = frozen and layer.name != last_frozen


def compile_network(network: keras.Model, lr: float, weight_decay: float) -> None:
    import keras

    network.compile(
        optimizer=keras.optimizers.AdamW(lr, weight_decay=weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def pictures_in(first: int, last: int, count: int, batch_size: int) -> int:
    """Pictures in batches first...last-1 of a split that is repeated without end.

    >>> pictures_in(1, 4, count=70, batch_size=32)  # 32, 32, 6, 32, 32, 6, ...
    70
    """
    per_epoch = -(-count // batch_size)
    return sum(min(batch_size, count - i % per_epoch * batch_size) for i in range(first, last))


def time_steps(run: Callable[..., Any], kind: str, pictures: Pictures, steps: int) -> Cost:
    """The cost of one pass over a split, from some of its batches.

    What Keras does between epochs is not in it, and that favours the plain way: TensorFlow 2.21
    can stand idle for many seconds there, waiting for the input pipeline's tuner to wake.

    Args:
        run: (dataset, callbacks, number of batches) → trains or evaluates.
        kind: of the batches: ``train`` or ``test``.
        pictures: the split.
        steps: how many batches are timed.
    """
    import keras

    ends: list[Cost] = []
    note = {f"on_{kind}_batch_end": lambda batch, logs=None: ends.append(Cost.now())}
    run(pictures.batches.repeat(), [keras.callbacks.LambdaCallback(**note)], WARM_UP + steps)
    timed = pictures_in(WARM_UP, WARM_UP + steps, pictures.count, pictures.batch_size)
    return (ends[-1] - ends[WARM_UP - 1]) * (pictures.count / timed)


def train_phase(
    network: keras.Model, train: Pictures, val: Pictures, epochs: int, steps: int
) -> tuple[Cost, Cost]:
    """Train for some epochs, each followed by validation.

    Args:
        network: compiled.
        train: shuffled.
        val: in order.
        epochs: how many; with ``steps``, none is run to its end.
        steps: how many batches of each kind are timed; 0: whole epochs.

    Returns:
        The cost of the start (tracing; with ``steps`` only, otherwise it belongs to the epochs),
        and of one epoch.
    """
    start = Cost.now()
    if not steps:
        network.fit(train.batches, validation_data=val.batches, epochs=epochs, verbose=2)
        return Cost(0.0, 0.0), (Cost.now() - start) * (1 / epochs)
    one_picture = val.batches.unbatch().batch(1).take(1)
    network.fit(one_picture, validation_data=one_picture, verbose=0)
    startup = Cost.now() - start

    def fit(dataset: tf.data.Dataset, callbacks: list[Any], number: int) -> None:
        network.fit(dataset, steps_per_epoch=number, callbacks=callbacks, verbose=0)

    def evaluate(dataset: tf.data.Dataset, callbacks: list[Any], number: int) -> None:
        network.evaluate(dataset, steps=number, callbacks=callbacks, verbose=0)

    epoch = time_steps(fit, "train", train, steps) + time_steps(evaluate, "test", val, steps)
    return startup, epoch


def train(params: Params, root: Path, directory: Path, steps: int) -> Report:
    """Both phases, from the archive.

    Returns:
        ``unpack``, ``head_startup`` (imports, building, tracing), ``head`` (all epochs),
        ``finetune_startup``, ``finetune_epoch`` (one), ``finetune`` (all). Without ``steps`` also
        ``accuracy`` on the test split, of ``head`` and ``finetuned``.
    """
    start = Cost.now()
    unpack(root, directory)
    unpacked = Cost.now()
    spec, head, tune = find_backbone(params.model.backbone), params.head, params.finetune
    size_px = choose_image_size(spec, params.preprocess.image_size)
    backbone = build_backbone(params.model.backbone, size_px, chosen_weights(params.model))
    num_classes = len(list((directory / "train").iterdir()))
    augmentation = build_augmentation(params.augment)
    network = build_network(backbone, augmentation, head.dropout, num_classes)
    compile_network(network, head.lr, head.weight_decay)
    splits = [("train", True), ("val", False)]
    data = [load_pictures(directory / name, size_px, head.batch_size, s) for name, s in splits]
    built = Cost.now()
    head_startup, head_epoch = train_phase(network, data[0], data[1], head.epochs, steps)
    accuracy = {} if steps else {"head": measure_accuracy(network, directory / "test", size_px)}

    tuning = Cost.now()
    cut = choose_cut(spec, params.model.cut)
    names = [layer.name for layer in backbone.layers]
    unfreeze_top(backbone, "" if cut == INPUT else block_end(spec, names, cut))
    compile_network(network, tune.lr, tune.weight_decay)
    data = [load_pictures(directory / name, size_px, tune.batch_size, s) for name, s in splits]
    rebuilt = Cost.now()
    tune_startup, tune_epoch = train_phase(network, data[0], data[1], tune.epochs, steps)
    if not steps:
        accuracy["finetuned"] = measure_accuracy(network, directory / "test", size_px)
    costs = {
        "unpack": unpacked - start,
        "head_startup": built - unpacked + head_startup,
        "head": head_epoch * head.epochs,
        "finetune_startup": rebuilt - tuning + tune_startup,
        "finetune_epoch": tune_epoch,
        "finetune": tune_epoch * tune.epochs,
    }
    return report(costs) | ({"accuracy": accuracy} if accuracy else {})


def baseline(params: Params, root: Path, directory: Path, steps: int) -> Report:
    """The CNN from scratch, in Keras' own form, on pictures that are decoded to its size.

    Returns:
        ``baseline_startup`` (unpacking, imports, building, tracing) and ``baseline_epoch`` (one).
    """
    start = Cost.now()
    unpack(root, directory)
    import keras

    from pawprint.networks.architectures import build_baseline

    config = params.baseline
    cnn = build_baseline(config, len(list((directory / "train").iterdir())))
    augmentation = build_augmentation(params.augment)
    network = keras.Sequential([keras.Input(cnn.input_shape[1:]), augmentation, cnn])
    compile_network(network, config.lr, config.weight_decay)
    train, val = (
        load_pictures(directory / name, config.image_size, config.batch_size, shuffle)
        for name, shuffle in (("train", True), ("val", False))
    )
    built = Cost.now()
    startup, epoch = train_phase(network, train, val, config.epochs, steps)
    return report({"baseline_startup": built - start + startup, "baseline_epoch": epoch})


def measure_accuracy(network: keras.Model, directory: Path, size_px: int) -> float:
    pictures = load_pictures(directory, size_px, PREDICT_BATCH, shuffle=False)
    return network.evaluate(pictures.batches, verbose=0, return_dict=True)["accuracy"]


def report(costs: Mapping[str, Cost]) -> Report:
    return {name: asdict(cost) for name, cost in costs.items()}


def features(params: Params, root: Path) -> Report:
    """``model.predict`` of the pooled backbone on the decoded pictures of train and val.

    Without its first batches and what comes after the last one, as in ``time_steps``.

    Returns:
        ``startup`` (imports, building, tracing) and ``predict`` (all pictures).

    Raises:
        PawprintError: there are too few pictures to time.
    """
    start = Cost.now()
    import keras
    import numpy as np
    from keras import layers

    imported = Cost.now()
    processed = root / "data/processed"
    shards = [ShardedArray(processed / split) for split in ("train", "val")]
    images = np.concatenate([shard.gather(range(len(shard))) for shard in shards])
    least = (WARM_UP + 1) * PREDICT_BATCH
    if len(images) < least:
        raise PawprintError(f"expected at least {least} pictures to time, found {len(images)}")
    read = Cost.now()
    backbone = build_backbone(params.model.backbone, images.shape[1], chosen_weights(params.model))
    pooled = layers.GlobalAveragePooling2D()(backbone.output)
    network = keras.Model(backbone.input, pooled)
    network.predict(images[:PREDICT_BATCH], batch_size=PREDICT_BATCH, verbose=0)
    built = Cost.now()
    ends: list[Cost] = []
    note = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs=None: ends.append(Cost.now())
    )
    network.predict(images, batch_size=PREDICT_BATCH, verbose=0, callbacks=[note])
    timed = len(images) - pictures_in(0, WARM_UP, len(images), PREDICT_BATCH)
    predict = (ends[-1] - ends[WARM_UP - 1]) * (len(images) / timed)
    return report({"startup": imported - start + (built - read), "predict": predict})


def check_params(params: Params) -> None:
    """Refuse what the plain way would do otherwise than Pawprint.

    Raises:
        PawprintError: it names the key.
    """
    if params.model.pooling != "avg":
        raise PawprintError(
            f"model.pooling: expected avg, found {params.model.pooling}: the plain way has no other"
        )
    if params.head.hidden:
        raise PawprintError(
            f"head.hidden: expected [], found {params.head.hidden}: the plain way has one layer"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.plain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("train", "baseline", "features"))
    parser.add_argument(
        "--steps", type=int, default=0, help="of a training: batches to time; 0: all (default)"
    )
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    root = Path()
    try:
        params = load_params()
        check_params(params)
        if options.what == "features":
            found = features(params, root)
        else:
            measure = train if options.what == "train" else baseline
            with tempfile.TemporaryDirectory() as directory:
                found = measure(params, root, Path(directory), options.steps)
    except PawprintError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
