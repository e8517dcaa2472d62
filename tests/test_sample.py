"""The drawn sample set: reproducible, balanced, and without a shortcut to its labels."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pawprint.sources.sample import draw_picture

# covers: R13

SHORTCUT_PICTURES = 240
Cues = Callable[[bytes, np.ndarray], np.ndarray]


def draw_sample(count: int, seed: int) -> list[tuple[str, bytes]]:
    return [draw_picture(index, seed) for index in range(count)]


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, bytes]]:
    return list(draw_sample(SHORTCUT_PICTURES, seed=1))


def test_names_number_each_class_from_one() -> None:
    assert [name for name, _ in draw_sample(4, seed=0)] == [
        "cat/cat_00001.jpg",
        "dog/dog_00001.jpg",
        "cat/cat_00002.jpg",
        "dog/dog_00002.jpg",
    ]


def test_one_seed_repeats_byte_for_byte() -> None:
    assert list(draw_sample(4, seed=5)) == list(draw_sample(4, seed=5))


def test_two_seeds_and_all_indices_differ() -> None:
    pictures = [jpeg for seed in (0, 1) for _, jpeg in draw_sample(6, seed)]
    assert len(set(pictures)) == 12


def test_a_picture_does_not_depend_on_those_before_it(drawn: list[tuple[str, bytes]]) -> None:
    assert draw_picture(17, seed=1) == drawn[17]


def test_a_longer_set_starts_with_the_shorter_one(drawn: list[tuple[str, bytes]]) -> None:
    assert list(draw_sample(5, seed=1)) == drawn[:5]


def test_global_random_state_is_neither_read_nor_changed() -> None:
    np.random.seed(0)
    first, untouched = draw_picture(0, seed=0), np.random.random()
    np.random.seed(0)
    assert np.random.random() == untouched
    assert draw_picture(0, seed=0) == first


def test_draw_picture_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(draw_picture)) is draw_picture


def test_an_empty_set_is_empty() -> None:
    assert list(draw_sample(0, seed=0)) == []


def test_classes_are_balanced_and_names_unique(drawn: list[tuple[str, bytes]]) -> None:
    names = [name for name, _ in drawn]
    assert Counter(name.split("/")[0] for name in names) == {"cat": 120, "dog": 120}
    assert len(set(names)) == SHORTCUT_PICTURES


def test_pictures_are_rgb_jpegs_of_varying_size(drawn: list[tuple[str, bytes]]) -> None:
    sizes = set()
    for _, jpeg in drawn[:60]:
        picture = Image.open(io.BytesIO(jpeg))
        picture.load()
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
        assert 256 <= max(picture.size) <= 320
        assert max(picture.size) / min(picture.size) < 1.51
        assert np.asarray(picture).std() > 5
        sizes.add(picture.size)
    assert len(sizes) > 30
    assert {width > height for width, height in sizes} == {True, False}


def _size_cues(jpeg: bytes, pixels: np.ndarray) -> np.ndarray:
    height, width, _ = pixels.shape
    return np.array([len(jpeg), len(jpeg) / pixels.size, width, height, width / height])


def _colour_cues(jpeg: bytes, pixels: np.ndarray) -> np.ndarray:
    some = pixels[::4, ::4].reshape(-1, 3)
    return np.concatenate([some.mean(0), some.std(0)])


def _histogram_cues(jpeg: bytes, pixels: np.ndarray) -> np.ndarray:
    some = pixels[::4, ::4].reshape(-1, 3)
    return np.histogramdd(some, bins=3, range=[(0, 256)] * 3)[0].ravel() / len(some)


def _thumbnail_cues(jpeg: bytes, pixels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(pixels).convert("L").resize((4, 4), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()


@pytest.mark.parametrize("cues", [_size_cues, _colour_cues, _histogram_cues, _thumbnail_cues])
def test_nothing_but_the_animal_tells_the_class(drawn: list[tuple[str, bytes]], cues: Cues) -> None:
    """A linear classifier on a shortcut stays within 3.5 standard errors of chance."""
    decoded = [(jpeg, np.asarray(Image.open(io.BytesIO(jpeg)))) for _, jpeg in drawn]
    features = np.array([cues(jpeg, pixels) for jpeg, pixels in decoded])
    y_true = np.array([name.startswith("dog/") for name, _ in drawn])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    accuracy = cross_val_score(classifier, features, y_true, cv=5).mean()
    assert abs(accuracy - 0.5) < 3.5 * 0.5 / SHORTCUT_PICTURES**0.5


def test_the_shortcut_test_would_notice_a_shortcut(drawn: list[tuple[str, bytes]]) -> None:
    """Dogs with 40 levels more blue than cats are found out by the same classifier."""
    features, y_true = [], []
    for name, jpeg in drawn:
        pixels = np.array(Image.open(io.BytesIO(jpeg)), np.float32)
        y_true.append(name.startswith("dog/"))
        pixels[..., 2] += 40 * y_true[-1]
        features.append(_colour_cues(jpeg, pixels))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    assert cross_val_score(classifier, np.array(features), y_true, cv=5).mean() > 0.65
