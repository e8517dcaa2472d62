"""Augmentation: known changes give known pixels; unknown ones repeat with their seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pawprint.data.augment import apply_transforms, draw_transforms
from pawprint.networks.architectures import resizing_matrix
from pawprint.runner.params import AugmentParams

# covers: R4, R17

SIZE = 32
OFF = AugmentParams(rotation=0, shift=0, zoom=0, flip=False, brightness=0, contrast=0, saturation=0)
ALL = AugmentParams(
    rotation=20, shift=0.2, zoom=0.2, flip=True, brightness=0.2, contrast=0.3, saturation=0.5
)
IDENTITY = (1, 0, 0, 0, 1, 0, 0, 1, 1)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def apply(images: np.ndarray, *transforms: tuple[float, ...]) -> np.ndarray:
    return apply_transforms(images, np.array(transforms, np.float32))


def augmented(images: np.ndarray, params: AugmentParams, seed: int, round_: int) -> np.ndarray:
    table = draw_transforms(params, len(images), SIZE, seed, round_)
    return apply_transforms(images, table)


def only(**changes: float | bool) -> AugmentParams:
    return OFF.model_copy(update=changes)


def test_one_seed_repeats_two_differ() -> None:
    images = pictures(4)
    first = augmented(images, ALL, seed=1, round_=2)
    np.testing.assert_array_equal(first, augmented(images, ALL, seed=1, round_=2))
    for other in (augmented(images, ALL, 2, 2), augmented(images, ALL, 1, 3)):
        assert (np.abs(first.astype(float) - other).mean(axis=(1, 2, 3)) > 1).all()


def test_pictures_of_one_round_are_changed_differently() -> None:
    images = np.repeat(pictures(1), 4, axis=0)
    changed = augmented(images, ALL, seed=0, round_=0)
    assert len(np.unique(changed.reshape(4, -1), axis=0)) == 4


def test_nothing_asked_for_changes_nothing() -> None:
    images = pictures(8)
    np.testing.assert_allclose(augmented(images, OFF, 0, 0), images, atol=1e-3)


def test_flip_mirrors_about_half_of_the_pictures_and_leaves_the_rest() -> None:
    images = pictures(400)
    changed = augmented(images, only(flip=True), seed=0, round_=0)
    kept = np.isclose(changed, images, atol=1e-3).all(axis=(1, 2, 3))
    mirrored = np.isclose(changed, images[:, :, ::-1], atol=1e-3).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 160 < mirrored.sum() < 240  # 200 ± 4 standard deviations


def test_a_shift_by_hand() -> None:
    row = np.array([10, 20, 30, 40], np.uint8)
    image = np.broadcast_to(row[None, :, None], (1, 4, 4, 3))
    # the result at x is the source at x + 1; beyond the edge its last pixels come back
    shifted = apply(image, (1, 0, 1, 0, 1, 0, 0, 1, 1))
    np.testing.assert_allclose(shifted[0, 0, :, 0], [20, 30, 40, 40], atol=1e-3)
    half = apply(image, (1, 0, 0.5, 0, 1, 0, 0, 1, 1))
    np.testing.assert_allclose(half[0, 0, :3, 0], [15, 25, 35], atol=1e-3)
    down = apply(image.swapaxes(1, 2), (1, 0, 0, 0, 1, -2, 0, 1, 1))
    np.testing.assert_allclose(down[0, :, 0, 0], [20, 10, 10, 20], atol=1e-3)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    """cos = 0, sin = 1: the source of (x, y) is (-y, x) about the centre, y pointing down."""
    images = pictures(1)
    centre = (SIZE - 1) / 2
    turned = apply(images, (0, -1, 2 * centre, 1, 0, 0, 0, 1, 1))
    np.testing.assert_allclose(turned[0], np.rot90(images[0]), atol=1e-2)


@pytest.mark.parametrize(
    "params", [only(rotation=30), only(shift=0.3), only(zoom=0.4), only(rotation=9, flip=True)]
)
def test_geometry_equals_that_of_scipy(params: AugmentParams) -> None:
    images = pictures(6)
    table = draw_transforms(params, 6, SIZE, 0, 0)
    for image, result, row in zip(images, apply_transforms(images, table), table, strict=True):
        a, b, c, d, e, f = row[:6]
        expected = ndimage.affine_transform(
            image[..., 1].astype(float), [[e, d], [b, a]], [f, c], order=1, mode="reflect"
        )
        np.testing.assert_allclose(result[..., 1], expected, atol=0.55)  # rounded to whole numbers


@pytest.mark.parametrize(("size_px", "share"), [(32, 0.25), (100, 0.1)])
def test_shifts_reach_the_share_asked_for_and_no_further(size_px: int, share: float) -> None:
    table = draw_transforms(only(shift=share), 2000, size_px, 0, 0)
    for shift in (table[:, 2], table[:, 5]):
        assert np.abs(shift).max() <= share * size_px
        assert shift.max() > 0.95 * share * size_px
        assert shift.min() < -0.95 * share * size_px
    assert abs(np.corrcoef(table[:, 2], table[:, 5])[0, 1]) < 0.1


def test_rotations_and_zooms_reach_what_is_asked_for_about_the_centre() -> None:
    table = draw_transforms(only(rotation=30, zoom=0.2), 2000, SIZE, 0, 0)
    angle = np.rad2deg(np.arctan2(table[:, 3], table[:, 0]))
    scale = np.hypot(table[:, 3], table[:, 0])
    assert 29 < angle.max() <= 30.001
    assert -30.001 <= angle.min() < -29
    assert 1.19 < scale.max() <= 1.2001
    assert 0.7999 <= scale.min() < 0.81
    centre = (SIZE - 1) / 2
    np.testing.assert_allclose(table[:, 0:2].sum(1) * centre + table[:, 2], centre, atol=1e-4)
    np.testing.assert_allclose(table[:, 3:5].sum(1) * centre + table[:, 5], centre, atol=1e-4)


def test_colours_by_hand() -> None:
    image = np.zeros((1, 2, 1, 3), np.uint8)
    image[0, 0, 0], image[0, 1, 0] = (100, 50, 0), (200, 200, 200)
    # grey of the first pixel: 0.299 · 100 + 0.587 · 50 = 59.25; mean grey: (59.25 + 200) / 2
    brighter = apply(image, (*IDENTITY[:6], 60, 1, 1))
    np.testing.assert_allclose(brighter[0, :, 0], [[160, 110, 60], [255, 255, 255]], atol=0.51)
    darker = apply(image, (*IDENTITY[:6], -60, 1, 1))
    np.testing.assert_allclose(darker[0, :, 0], [[40, 0, 0], [140, 140, 140]], atol=0.51)
    flat = apply(image, (*IDENTITY[:6], 0, 0, 1))
    np.testing.assert_allclose(flat, 129.625, atol=0.51)
    grey = apply(image, (*IDENTITY[:6], 0, 1, 0))
    np.testing.assert_allclose(grey[0, :, 0], np.array([[59.25] * 3, [200] * 3]), atol=0.51)


def test_colour_ranges() -> None:
    table = draw_transforms(only(brightness=0.1, contrast=0.2, saturation=0.3), 2000, SIZE, 0, 0)
    assert table.shape == (2000, 9)
    for column, low, high in ((6, -25.5, 25.5), (7, 0.8, 1.2), (8, 0.7, 1.3)):
        assert low - 1e-4 <= table[:, column].min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < table[:, column].max() <= high + 1e-4


def test_results_stay_within_pixels() -> None:
    changed = augmented(pictures(64), only(brightness=1, contrast=1, saturation=1, zoom=0.9), 0, 0)
    assert changed.dtype == np.uint8
    assert changed.min() == 0
    assert changed.max() == 255


def test_a_picture_does_not_depend_on_its_batch() -> None:
    images, table = pictures(8), draw_transforms(ALL, 8, SIZE, 0, 0)
    together = apply_transforms(images, table)
    for i in range(8):
        alone = apply_transforms(images[i : i + 1], table[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


@pytest.mark.parametrize(
    ("size_px", "seen_px"), [(64, 32), (96, 32), (128, 32), (80, 30), (20, 32)]
)
def test_smaller_pictures_are_those_of_the_resizing_of_the_model(
    size_px: int, seen_px: int
) -> None:
    """Smooth ones, as photographs are: the middle of a wave, turned by nothing, and mirrored."""
    x = np.arange(size_px) / size_px
    wave = 127 + 60 * np.sin(9 * x)[:, None] + 60 * np.cos(7 * x)
    image = np.stack([wave, 255 - wave, wave.T], -1).round().astype(np.uint8)
    mirrored = (-1, 0, size_px - 1, 0, 1, 0, 0, 1, 1)
    found = apply_transforms(
        np.stack([image, image]), np.array([IDENTITY, mirrored], np.float32), seen_px
    )
    assert found.shape == (2, seen_px, seen_px, 3)
    weights = resizing_matrix(size_px, seen_px)
    expected = np.einsum("ij,jkc,lk->ilc", weights, image.astype(np.float64), weights)
    inner = slice(2, -2)
    assert np.abs(found[0] - expected)[inner, inner].max() < 2.5
    assert np.abs(found[1] - expected[:, ::-1])[inner, inner].max() < 2.5
