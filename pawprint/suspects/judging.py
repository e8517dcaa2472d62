"""The head's model on the pictures of test: of the other splits, both are there already."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from pawprint.data.datasets import check_rows, read_class_names
from pawprint.networks.architectures import FEATURE_MAP, POOL, PROBS
from pawprint.networks.model_files import check_classes, open_model
from pawprint.networks.predictor import Precision, build_predictor, predict
from pawprint.storage.shards import ShardedArray
from pawprint.storage.tables import read_csv
from pawprint.unlikeness.likeness import average_map


def judge_test_pictures(
    processed: Path, head: Path, precision: Precision, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run the network once.

    Args:
        processed: ``data/processed``.
        head: the model of stage train_head.
        precision: of the arithmetic: that in which the features of train and val were made.
        batch_size: pictures at a time.

    Returns:
        Of each picture of test, in the order of its index.csv: the mean over the places of the last
        map, float32 [n, channels], and the probabilities, float32 [n, classes].

    Raises:
        DataError: the files do not fit together.
        ModelError: the model is damaged, or of other classes.
    """
    test, names = processed / "test", read_class_names(processed)
    images = ShardedArray(test)
    check_rows(test, len(read_csv(test / "index.csv")), images)
    with open_model(head) as file:
        check_classes(file.path, file.info.class_names, names)
        model = file.load()
    channels = model.get_layer(FEATURE_MAP).output.shape[-1]
    outputs = [model.get_layer(name).output for name in (POOL, PROBS)]
    network = build_predictor(keras.Model(model.input, outputs), precision)
    total = -(-len(images) // batch_size)
    batches = tqdm(images.batches(batch_size), desc="test pictures", total=total, unit="batch")
    found = [
        (average_map(features, channels), probs) for features, probs in predict(network, batches)
    ]
    features, probs = (np.concatenate(part) for part in zip(*found, strict=True))
    return features, probs
