"""The training procedure, on data small enough to know the answer."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pawprint.data.datasets import steps_per_epoch, training_batches
from pawprint.networks.architectures import LOGITS, add_probs, build_head, scale_logits
from pawprint.networks.model_files import ModelInfo, load_model, save_model
from pawprint.runner.errors import ModelError
from pawprint.runner.files import move_directory
from pawprint.runner.params import HeadParams, Params
from pawprint.storage.tables import read_json, write_json
from pawprint.training.checkpoints import Checkpoints
from pawprint.training.fit import Trained, Validation, _build_loss, train_model
from pawprint.training.temperature import log_loss

# covers: R8, R14, R17, R20, B1, B6, C6

pytestmark = pytest.mark.usefixtures("tensorflow", "_in_a_new_directory")

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
LABELS = np.arange(64) % 2
FEATURES = (RNG.normal(size=(64, 4)) + np.outer(2 * LABELS - 1, [1, -1, 0, 0])).astype(np.float32)


@pytest.fixture
def _in_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def section(committed: Params, **changes: Any) -> HeadParams:
    """The section head: plain, constant steps unless said otherwise."""
    plain = {
        "dropout": 0.0,
        "schedule": "constant",
        "weight_decay": 0.0,
        "batch_size": 8,
        "lr": 0.01,
    }
    return committed.head.model_copy(update=plain | changes)


def new_head(params: HeadParams, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_head(params, 4, 2)


def train(
    params: HeadParams,
    model: keras.Model,
    features: np.ndarray = FEATURES,
    labels: np.ndarray = LABELS,
    val_labels: np.ndarray | None = None,
    watch: type[Validation] = Validation,
    raw: bool = False,
    **options: Any,
) -> Trained:
    """Train on labelled features; validate on the same features, with these or other labels.

    The results go where a stage would write them. If `raw`, the temperature is taken out again.
    """
    shutil.rmtree("kept", ignore_errors=True)  # what an earlier training of the same test left
    batches = training_batches(lambda epoch, rows: (features[rows],), labels, params, lambda x: x)
    inputs = tf.data.Dataset.from_tensor_slices(features).batch(16)
    validation = watch(inputs, labels if val_labels is None else val_labels)
    steps, kept = steps_per_epoch(len(labels), params.batch_size), Checkpoints(Path("kept"))
    trained = train_model(model, batches, steps, validation, params, kept, **options)
    assert trained.model is model
    if raw:
        scale_logits(model, 1 / trained.temperature)
    shutil.rmtree("plots", ignore_errors=True)
    move_directory(trained.curves, Path("plots"))
    write_json(Path("summary.json"), trained.summary)
    return trained


def curve(name: str) -> list[float]:
    with open(f"plots/plots/metrics/{name}.tsv", newline="") as file:
        return [float(row[name.split("/")[-1]]) for row in csv.DictReader(file, delimiter="\t")]


def summary() -> dict[str, float]:
    return read_json(Path("summary.json"))


def predicted(model: keras.Model) -> np.ndarray:
    return model(FEATURES, training=False).numpy()


def test_a_head_learns_and_its_curves_are_written(committed: Params) -> None:
    params = section(committed, epochs=5, lr=0.05)
    model = new_head(params)
    before = log_loss(predicted(model), LABELS)
    train(params, model)
    after = log_loss(predicted(model), LABELS)
    assert after < 0.5 * before
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
        assert len(curve(name)) == 5
    assert curve("train/loss")[-1] < curve("train/loss")[0]
    assert set(summary()) == {"best_epoch", "val_accuracy", "val_log_loss"}
    accuracy = np.mean(predicted(model).argmax(-1) == LABELS)
    assert summary()["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_the_best_epoch_is_kept_and_training_stops_early(committed: Params) -> None:
    """Validated on the opposite labels, every epoch is worse than the one before."""
    opposite = 1 - LABELS
    model = new_head(section(committed))
    train(section(committed, epochs=20, patience=2), model, val_labels=opposite)
    assert len(curve("val/loss")) == 3  # the best one, and two that were worse
    assert summary()["best_epoch"] == 1
    once = new_head(section(committed))
    train(section(committed, epochs=1), once, val_labels=opposite)
    for kept, expected in zip(model.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_the_figures_are_those_of_the_returned_weights(committed: Params) -> None:
    params = section(committed, epochs=6, lr=1.0)
    model = new_head(params)
    noisy = np.where(RNG.random(64) < 0.3, 1 - LABELS, LABELS)
    train(params, model, val_labels=noisy)
    assert summary()["val_log_loss"] == pytest.approx(log_loss(predicted(model), noisy), abs=2e-6)


def test_a_trained_model_is_calibrated(committed: Params) -> None:
    """No other temperature than 1 is better."""
    model = new_head(section(committed))
    noisy = np.where(RNG.random(64) < 0.3, 1 - LABELS, LABELS)
    train(section(committed, epochs=6, lr=0.1), model, val_labels=noisy)
    logits = predicted(model).astype(np.float64)
    losses = [log_loss(logits / temperature, noisy) for temperature in (0.9, 0.99, 1, 1.01, 1.1)]
    assert min(losses) == losses[2]


def test_a_diverged_training_says_so(committed: Params) -> None:
    params = section(committed, epochs=2)
    features = np.full_like(FEATURES, 3e38)
    with pytest.raises(ModelError, match="training has diverged, lower its lr"):
        train(params, new_head(params), features)


def test_plateau_lowers_the_learning_rate(
    committed: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    params = section(committed, epochs=9, patience=2, schedule="plateau")
    train(params, new_head(params), val_labels=1 - LABELS)
    rates = re.findall(r"reducing learning rate to ([\d.]+\d)", capsys.readouterr().out)
    # two worse epochs, each of which multiplies by 0.3
    assert [float(rate) for rate in rates] == pytest.approx([0.003, 0.0009], rel=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_cosine_ends_at_zero(accumulate: int, committed: Params) -> None:
    rates: list[float] = []

    class Watch(Validation):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            rates.append(float(self.model.optimizer.learning_rate))

    params = section(committed, epochs=3, schedule="cosine", warmup=0.2, accumulate=accumulate)
    train(params, new_head(params), watch=Watch)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 1e-3
    assert rates[-1] < 1e-5


def test_warmup_starts_small(committed: Params) -> None:
    """One step of AdamW moves every weight by the learning rate: zero, in the first of ten."""
    changes = {"epochs": 1, "batch_size": 64, "schedule": "cosine"}
    for warmup, moved in ((0.0, 0.01), (0.9, 0.0)):
        params = section(committed, warmup=warmup, **changes)
        model = new_head(params)
        kernel = model.get_layer(LOGITS).kernel.numpy()
        train(params, model, raw=True)
        moves = np.abs(model.get_layer(LOGITS).kernel.numpy() - kernel)
        np.testing.assert_allclose(moves, moved, atol=1e-5)


@pytest.mark.parametrize("weights", [None, np.array([2.0, 0.5], np.float32)])
def test_two_accumulated_batches_are_one_of_twice_the_size(
    weights: np.ndarray | None, committed: Params
) -> None:
    models = []
    for batch_size, accumulate in ((16, 1), (8, 2), (8, 1)):
        params = section(committed, epochs=2, batch_size=batch_size, accumulate=accumulate)
        models.append(new_head(params))
        train(params, models[-1], raw=True, class_weights=weights)
    large, accumulated, small = (model.get_layer(LOGITS).kernel.numpy() for model in models)
    np.testing.assert_allclose(accumulated, large, atol=1e-5)
    assert np.abs(small - large).max() > 1e-3


def test_the_head_may_have_its_own_learning_rate(committed: Params) -> None:
    """One step of AdamW moves every weight by its learning rate."""
    params = section(committed, hidden=[6], epochs=1, batch_size=64)
    model = new_head(params, seed=3)
    before = {name: model.get_layer(name).kernel.numpy() for name in ("head1_dense", LOGITS)}
    train(params, model, factors={LOGITS: 0.1}, raw=True)
    for name, rate in (("head1_dense", 0.01), (LOGITS, 0.001)):
        moves = np.abs(model.get_layer(name).kernel.numpy() - before[name])
        assert np.median(moves) == pytest.approx(rate, rel=1e-3)


def test_weight_decay_shrinks_kernels_and_spares_biases(committed: Params) -> None:
    params = section(committed, epochs=1, batch_size=64, weight_decay=0.5)
    model = new_head(params)
    layer = model.get_layer(LOGITS)
    layer.bias.assign([100.0, 100.0])
    kernel = layer.kernel.numpy()
    train(params, model, np.zeros_like(FEATURES), np.where(np.arange(64) < 16, 0, 1), raw=True)
    np.testing.assert_allclose(layer.kernel.numpy(), kernel * (1 - 0.01 * 0.5), rtol=1e-5)
    np.testing.assert_allclose(layer.bias.numpy(), [99.99, 100.01], atol=1e-4)


def test_label_smoothing_by_hand(committed: Params) -> None:
    params = section(committed, epochs=1, batch_size=64, label_smoothing=0.2)
    model = new_head(params)
    model.get_layer(LOGITS).bias.assign([np.log(3), 0])  # probabilities 3/4 and 1/4
    train(params, model, np.zeros_like(FEATURES), np.zeros(64, int), LABELS, raw=True)
    expected = -0.9 * np.log(0.75) - 0.1 * np.log(0.25)
    assert curve("train/loss") == [pytest.approx(expected, rel=1e-5)]


WEIGHTS = np.array([2.0, 0.5], np.float32)
UNEQUAL = np.where(np.arange(64) < 16, 0, 1)


@pytest.mark.parametrize(("smoothing", "precision"), [(0, "float32"), (0.2, "bfloat16")])
def test_weights_of_classes_in_the_loss_by_hand(
    smoothing: float, precision: str, committed: Params
) -> None:
    """The mean over the pictures of weight times loss, and not over the sum of the weights."""
    changes = {"hidden": [6], "epochs": 1, "batch_size": 64}
    params = section(committed, label_smoothing=smoothing, precision=precision, **changes)
    model = new_head(params)
    model.get_layer(LOGITS).bias.assign([np.log(3), 0])  # probabilities 3/4 and 1/4
    train(params, model, np.zeros_like(FEATURES), UNEQUAL, class_weights=WEIGHTS)
    hit, miss = 1 - smoothing / 2, smoothing / 2
    losses = (
        -hit * np.log(0.75) - miss * np.log(0.25),
        -hit * np.log(0.25) - miss * np.log(0.75),
    )
    expected = (16 * 2.0 * losses[0] + 48 * 0.5 * losses[1]) / 64
    assert curve("train/loss") == [pytest.approx(expected, rel=1e-5)]


def test_weights_of_one_are_no_weights_to_the_bit(committed: Params) -> None:
    params, kernels = section(committed, hidden=[6], epochs=3), []
    for weights in (None, np.ones(2, np.float32), WEIGHTS):
        kernels.append(new_head(params))
        train(params, kernels[-1], class_weights=weights, raw=True)
    plain, ones, weighed = (model.get_layer(LOGITS).kernel.numpy() for model in kernels)
    np.testing.assert_array_equal(plain, ones)
    assert np.abs(plain - weighed).max() > 1e-3


def test_without_weights_the_loss_has_none() -> None:
    """No operation more than before, so that trainings without weights keep their bytes."""
    shapes = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.float32)

    def operations(weights: np.ndarray | None) -> list[str]:
        graph = tf.function(_build_loss(2, 0.1, weights)).get_concrete_function(*shapes).graph
        return [operation.type for operation in graph.get_operations()]

    plain, weighed = operations(None), operations(WEIGHTS)
    assert not {"GatherV2", "ResourceGather"} & set(plain)
    assert "GatherV2" in weighed
    assert len(plain) < len(weighed)


def test_validation_knows_no_weights(committed: Params) -> None:
    params = section(committed, epochs=1, batch_size=64, lr=1e-9)
    found = []
    for weights in (None, WEIGHTS):
        train(params, new_head(params), labels=UNEQUAL, class_weights=weights)
        found.append((curve("train/loss")[0], curve("val/loss")[0], curve("val/log_loss")[0]))
    plain, weighed = found
    assert plain[0] != pytest.approx(weighed[0], rel=1e-2)
    assert plain[1:] == pytest.approx(weighed[1:], rel=1e-5)


def test_every_printed_figure_says_of_which_weights_it_is(
    committed: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = np.where(RNG.random(64) < 0.3, 1 - LABELS, LABELS)
    params = section(committed, hidden=[8], epochs=4, lr=0.05, precision="bfloat16")
    trained = train(params, new_head(params), val_labels=noisy, blend=0.75)
    best = int(summary()["best_epoch"])
    kept = [curve(f"val/{name}")[best - 1] for name in ("accuracy", "log_loss", "loss")]
    assert trained.describe(Path("metrics/head.json")).splitlines() == [
        f"epoch {best} of 4 is kept; its weights, before the blend, computed in bfloat16: "
        f"val_accuracy {kept[0]:.4f}, val_log_loss {kept[1]:.4f} at the best temperature "
        f"(val_loss {kept[2]:.4f} at 1)",
        "the saved model, 0.75 of these weights and 0.25 of those before training, at temperature "
        f"{trained.temperature:.4f}: val_accuracy {summary()['val_accuracy']:.4f}, "
        f"val_log_loss {summary()['val_log_loss']:.4f}; metrics/head.json holds these",
    ]
    # what Keras printed of this epoch is what the first line repeats
    assert f"val_accuracy: {kept[0]:.4f}" in capsys.readouterr().out
    plain = train(section(committed, epochs=1), new_head(section(committed)))
    first, second = plain.describe(Path("metrics/head.json")).splitlines()
    assert first.startswith("epoch 1 of 1 is kept; its weights: val_accuracy ")
    assert second.startswith("the saved model, at temperature ")


def test_small_gradients_are_unmoved_by_clipping_and_large_ones_are_not(committed: Params) -> None:
    kernels = {}
    for clip_norm in (0.0, 1e3, 1e-9):
        model = new_head(section(committed))
        train(section(committed, epochs=1), model, clip_norm=clip_norm, raw=True)
        kernels[clip_norm] = model.get_layer(LOGITS).kernel.numpy()
    np.testing.assert_allclose(kernels[0.0], kernels[1e3], atol=1e-6)
    assert np.abs(kernels[0.0] - kernels[1e-9]).max() > 1e-3  # of the size of AdamW's epsilon


def test_blend_lies_between_the_weights_before_and_after(committed: Params) -> None:
    params = section(committed, epochs=2)
    before, after = new_head(params), new_head(params)
    train(params, after, raw=True)
    half = new_head(params)
    train(params, half, blend=0.5, raw=True)
    expected = [(a + b) / 2 for a, b in zip(before.get_weights(), after.get_weights(), strict=True)]
    for found, wanted in zip(half.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert not np.allclose(before.get_weights()[0], after.get_weights()[0], atol=1e-3)


def test_bfloat16_trains_and_leaves_a_float32_model_that_is_judged_as_such(
    committed: Params,
) -> None:
    params = section(committed, hidden=[16], epochs=4, lr=0.02, precision="bfloat16")
    head = new_head(params)
    before = log_loss(predicted(head), LABELS)
    train(params, head)
    assert {layer.compute_dtype for layer in head.layers} == {"float32"}
    after = log_loss(predicted(head), LABELS)
    assert after < 0.8 * before
    assert summary()["val_log_loss"] == pytest.approx(after, abs=2e-6)
    full = new_head(params)
    train(params.model_copy(update={"precision": "float32"}), full)
    assert (predicted(full) != predicted(head)).any()


def test_the_saved_file_gives_calibrated_probabilities(committed: Params) -> None:
    params = section(committed, epochs=5, lr=0.5)
    model = new_head(params)
    noisy = np.where(RNG.random(64) < 0.2, 1 - LABELS, LABELS)
    train(params, model, val_labels=noisy)
    logits = predicted(model).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    save_model(add_probs(model), Path("head.keras"), ModelInfo(["cat", "dog"], 8))
    probs = load_model(Path("head.keras"))(FEATURES, training=False).numpy()
    np.testing.assert_allclose(probs, expected, atol=1e-5)


def test_one_seed_gives_the_same_file_and_two_do_not(committed: Params) -> None:
    contents = []
    for seed in (5, 5, 6):
        params = section(committed, hidden=[8], dropout=0.5, epochs=3, seed=seed)
        model = new_head(params, seed=1)
        train(params, model)
        save_model(add_probs(model), Path("head.keras"), ModelInfo(["cat", "dog"], 8))
        contents.append(Path("head.keras").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_every_epoch_has_every_row_once_in_an_order_of_its_own(committed: Params) -> None:
    params = section(committed, epochs=3, batch_size=10)
    seen: list[tuple[int, list[int]]] = []

    def gather(epoch: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.full(len(rows), epoch), rows)

    batches = training_batches(gather, LABELS, params, lambda *arrays: tf.stack(arrays))
    for pair, labels in batches(0):
        epochs, rows = pair.numpy()
        np.testing.assert_array_equal(labels, LABELS[rows])
        seen.append((int(epochs[0]), rows.tolist()))
    assert [len(rows) for _, rows in seen] == 3 * [10, 10, 10, 10, 10, 10, 4]
    orders = [[row for epoch, rows in seen if epoch == e for row in rows] for e in range(3)]
    assert [sorted(order) for order in orders] == 3 * [list(range(64))]
    assert orders[0] != orders[1] != orders[2]
    later = [(int(pair[0, 0]), pair[1].numpy().tolist()) for pair, _ in batches(1)]
    assert later == [(epoch, rows) for epoch, rows in seen if epoch > 0]


MIRRORED = """
import sys
import numpy as np
from pawprint.runner.params_file import load_params
from pawprint.networks.runtime import choose_strategy, start_tensorflow

start_tensorflow(2, 0)
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
assert tf.config.threading.get_intra_op_parallelism_threads() == 2
assert choose_strategy().num_replicas_in_sync == 1

from pathlib import Path
from pawprint.training.checkpoints import Checkpoints
from pawprint.data.datasets import training_batches
from pawprint.networks.architectures import build_head, scale_logits
from pawprint.runner.files import move_directory
from pawprint.storage.tables import read_json, write_json
from pawprint.training.fit import Validation, train_model

changes = {"dropout": 0.0, "schedule": "constant", "batch_size": 16, "epochs": 3, "lr": 0.05}
params = load_params(sys.argv[1]).head.model_copy(update=changes)
data = np.load("data.npz")
x, y = data["x"], data["y"]
strategy = choose_strategy(sys.argv[2].split(",")) if sys.argv[2] else choose_strategy()
replicas = strategy.num_replicas_in_sync
print(replicas)


def train(kept, class_weights=None):
    with strategy.scope():
        model = build_head(params, 4, 2)
        for weights in model.weights:
            weights.assign(np.zeros(weights.shape))
        validation = Validation(tf.data.Dataset.from_tensor_slices(x).batch(16), y)
        batches = training_batches(lambda epoch, rows: (x[rows],), y, params, lambda x: x)
        train_model(model, batches, 4, validation, params, Checkpoints(kept),
                    factors={"logits": 0.5}, class_weights=class_weights)
    return model.get_weights()[0]


kept = Path(f"kept/{replicas}")
kernel = train(kept)
np.save("kernel.npy", kernel)
np.testing.assert_array_equal(train(kept), kernel)  # nothing is left to do
max(kept.iterdir()).unlink()
np.testing.assert_array_equal(train(kept), kernel)  # the last epoch is
np.save("weighed.npy", train(Path(f"weighed/{replicas}"), np.array([2.0, 0.5], np.float32)))
"""


def test_several_devices_train_the_same_model_as_one(tmp_path: Path) -> None:
    np.savez("data.npz", x=FEATURES, y=LABELS)
    kernels, weighed = [], []
    for devices, replicas in (("", "1"), ("CPU:0,CPU:1", "2")):
        run = subprocess.run(
            [sys.executable, "-c", MIRRORED, str(ROOT / "params.yaml"), devices],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-3000:]
        assert run.stdout.splitlines()[0] == replicas
        kernels.append(np.load("kernel.npy"))
        weighed.append(np.load("weighed.npy"))
    assert np.abs(kernels[0]).max() > 0.05
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-4)
    np.testing.assert_allclose(weighed[0], weighed[1], atol=1e-4)
    assert np.abs(kernels[0] - weighed[0]).max() > 1e-3
