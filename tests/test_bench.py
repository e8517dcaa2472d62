# covers: B2, B6
"""The arithmetic of the benchmark, and that the plain way trains the same network as Pawprint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from bench.__main__ import parse_setting
from bench.measure import run_measured, summarize
from bench.plain import Cost, build_augmentation, build_network, pictures_in, unfreeze_top
from bench.projects import ROOT, count_images_per_s, take_fifth
from bench.report import check_bars, compute_ratios, summarize_repeats, to_json
from pawprint.runner.errors import PawprintError


def sides(plain_s: float, pawprint_s: float) -> dict[str, dict[str, float]]:
    return {
        "plain": {"wall_s": plain_s, "cpu_s": 2 * plain_s, "peak_mb": 9},
        "pawprint": {"wall_s": pawprint_s, "cpu_s": pawprint_s, "peak_mb": 3},
    }


def test_summary_is_median_lowest_highest():
    summary = summarize([5, 1, 9, 3])
    assert (summary.median, summary.lowest, summary.highest) == (4, 1, 9)
    assert summary.runs == [5, 1, 9, 3]


def test_ratio_is_plain_over_pawprint_of_the_medians():
    # medians 80 and 4; the median of the single ratios would be 25
    repeats = [sides(80, 4), sides(60, 2), sides(100, 4)]
    measurements = {"head_experiment": summarize_repeats(repeats)}
    ratios = compute_ratios(measurements)
    assert ratios == {"head_experiment": {"wall_s": 20, "cpu_s": 40}}
    bar = check_bars(measurements, ratios)["head_experiment"]
    assert (bar["value"], bar["met"], bar["moonshot_met"]) == (20, True, False)
    assert to_json(measurements, 12)["head_experiment"]["plain"]["extrapolated_from_steps"] == 12


def test_of_the_stages_the_worst_counts_and_lower_is_better():
    repeat = {"full": {"split": 300.0, "features": 2600.0}, "fifth": {"split": 200.0}}
    repeat["fifth"]["features"] = 2600.0
    measurements = {"memory": summarize_repeats([repeat])}
    bars = check_bars(measurements, compute_ratios(measurements))
    assert (bars["memory"]["value"], bars["memory"]["met"]) == (1.5, False)
    assert (bars["memory_of_a_stage_mb"]["value"], bars["memory_of_a_stage_mb"]["met"]) == (
        2600,
        False,
    )


@pytest.mark.parametrize(
    ("first", "last", "pictures"),
    [(0, 3, 70), (2, 3, 6), (2, 5, 70), (0, 6, 140)],
)
def test_pictures_in_batches_of_a_repeated_split(first, last, pictures):
    assert pictures_in(first, last, count=70, batch_size=32) == pictures


def test_costs_are_extrapolated_by_pictures():
    timed = Cost(10.0, 18.0) - Cost(4.0, 6.0)
    assert timed * (1400 / 700) + Cost(1.0, 1.0) == Cost(13.0, 25.0)


def test_throughput_is_read_from_the_last_line_of_features():
    lines = (
        "features of 9 pictures in a/ (1.0 images/s)\nfeatures of 9 pictures in a/ (8.5 images/s)"
    )
    assert count_images_per_s(lines) == 8.5
    with pytest.raises(PawprintError, match="expected a line 'features of"):
        count_images_per_s("features of 20 pictures in data/features/\n")


def test_fifth_is_every_fifth_picture_of_each_class(tmp_path):
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        for i in range(10):
            archive.writestr(f"cat/{i}.jpg", f"cat {i}")
        for i in range(6):
            archive.writestr(f"dog/{i}.jpg", f"dog {i}")
    take_fifth(tmp_path / "all.zip", tmp_path / "fifth.zip")
    with ZipFile(tmp_path / "fifth.zip") as archive:
        assert archive.namelist() == ["cat/0.jpg", "cat/5.jpg", "dog/0.jpg", "dog/5.jpg"]
        assert archive.read("dog/5.jpg") == b"dog 5"


def test_usage_counts_the_processes_below(tmp_path):
    work = "import time; x = b'1' * 200_000_000\nwhile time.process_time() < 0.8: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}], check=True)"
    usage = run_measured([sys.executable, "-c", child], tmp_path, {}, tmp_path / "log")
    assert 190 < usage.below_peak_mb < usage.peak_mb < 400
    assert 0.8 < usage.cpu_s < 3
    with pytest.raises(PawprintError, match=r"exit code 3: no pictures$"):
        run_measured(
            [sys.executable, "-c", "print('no pictures'); exit(3)"],
            tmp_path,
            {},
            tmp_path / "log",
        )


def test_plain_network_computes_what_pawprints_head_model_does(committed):
    from pawprint.backbones.build import build_backbone
    from pawprint.networks.architectures import add_pooling, build_head, chain, cut_model, unfreeze
    from pawprint.registry.backbones import block_end, choose_cut, find_backbone

    name = committed.model.backbone
    cut = choose_cut(find_backbone(name), committed.model.cut)
    backbone = build_backbone(name, 64, "none")
    plain = build_network(backbone, build_augmentation(committed.augment), 0.3, 3)
    head = build_head(committed.head, 1280, 3)
    ours = chain(add_pooling(build_backbone(name, 64, "none"), "avg"), head, "classifier")
    rng = np.random.default_rng(0)
    weights = [w + rng.uniform(0, 0.05, w.shape) for w in ours.get_weights()]
    ours.set_weights(weights)
    backbone.set_weights(weights[:-2])
    plain.layers[-1].set_weights(weights[-2:])

    pixels = rng.uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    expected = ours(pixels, training=False).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(plain(pixels, training=False), expected, rtol=1e-4, atol=1e-5)
    assert [w.shape for w in plain.trainable_weights] == [(1280, 3), (3,)]

    layer = block_end(find_backbone(name), [layer.name for layer in backbone.layers], cut)
    unfreeze_top(backbone, layer)
    tail = cut_model(ours, layer)[1]
    unfreeze(tail, freeze_depthwise=False)
    assert [w.shape for w in plain.trainable_weights] == [w.shape for w in tail.trainable_weights]


def test_augmentation_changes_training_pictures_alone(committed):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    augment = build_augmentation(committed.augment)
    assert len(augment.layers) == 6
    np.testing.assert_array_equal(augment(pixels, training=False), pixels)
    changed = augment(pixels, training=True).numpy()
    assert np.abs(changed - pixels).mean() > 5
    assert 0 <= changed.min() < changed.max() <= 255
    off = committed.augment.model_copy(update=dict.fromkeys(("zoom", "flip", "shift"), 0))
    assert len(build_augmentation(off).layers) == 3


def test_planted_copies_are_counted_by_kind(tmp_path):
    names = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(6)]
    noise = np.random.default_rng(0)
    with ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name in names:
            coarse = noise.integers(0, 256, (7, 7, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((160, 160), Image.Resampling.BICUBIC)
            with archive.open(name, "w") as file:
                picture.save(file, "PNG")
    command = [sys.executable, "-m", "bench.duplicates", str(tmp_path / "pictures.zip")]
    done = subprocess.run(
        [*command, "--copies", "1"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("24 pictures: ")
    assert re.search(r"^all +12 +12 +0$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("text", ["head.lr", "lr=0.1", "a.b.c=1"])
def test_a_setting_without_section_key_and_value_is_refused(text):
    with pytest.raises(ArgumentTypeError, match=f"expected SECTION.KEY=VALUE, .* found {text}"):
        parse_setting(text)


def test_a_short_run_writes_what_it_measured(tmp_path):
    command = [sys.executable, "-m", "bench", "--pictures", "200", "--only", "features_f32"]
    done = subprocess.run(
        [*command, "--set", "preprocess.image_size=96", "--repeats", "1", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert results["failed"] == {}
    assert results["settings"]["params"]["preprocess"]["image_size"] == 96
    rates = {
        side: figures["images_per_s"]["median"]
        for side, figures in results["measurements"]["features_f32"].items()
        if isinstance(figures, dict)
    }
    found = results["ratios"]["features_f32"]["wall_s"]
    assert found == pytest.approx(rates["pawprint"] / rates["plain"], rel=0.01)
    table = (tmp_path / "results.md").read_text("utf-8")
    shown = re.search(r"^\| features_f32 \| ([\d.]+) \|", table, re.MULTILINE)
    assert shown
    assert float(shown[1]) == pytest.approx(found, rel=0.01)
