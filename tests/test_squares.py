"""A picture becomes a square in one of three ways, each by hand and at its extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from corpus import encode
from PIL import Image, ImageOps

from pawprint.pictures.images import decode_image
from pawprint.pictures.squares import FILL, make_square
from pawprint.registry.resizing import RESIZES, STRETCH, Resize
from pawprint.runner.params import Params

# covers: R5

CAP = 1_000_000
ROWS = np.array([[0, 70, 140, 210], [2, 72, 142, 212]], np.uint8)  # a grey picture of 4x2 pixels


def decode(pixels: np.ndarray, size_px: int, resize: Resize) -> np.ndarray:
    return decode_image(encode(Image.fromarray(pixels)), size_px, CAP, resize=resize)


def test_stretch_scales_width_and_height_independently() -> None:
    # each new pixel: 3, 3 and 1 sevenths of those beneath it and the next one
    assert decode(ROWS, 2, "stretch")[..., 0].tolist() == [[50, 160], [52, 162]]


def test_crop_is_the_central_square() -> None:
    assert decode(ROWS, 2, "crop")[..., 1].tolist() == [[70, 140], [72, 142]]
    assert decode(ROWS.T, 2, "crop")[..., 1].tolist() == [[70, 72], [140, 142]]


def test_letterbox_is_the_whole_picture_between_two_bars() -> None:
    grey = np.repeat(ROWS[..., None], 3, axis=2)
    bar = np.full((1, 4, 3), FILL)
    expected = np.concatenate([bar, grey, bar])
    np.testing.assert_array_equal(decode(ROWS, 4, "letterbox"), expected)
    np.testing.assert_array_equal(
        decode(ROWS.T.copy(), 4, "letterbox"), expected.transpose(1, 0, 2)
    )
    # of half the size: one row, the mean of both; columns as above
    assert decode(ROWS, 2, "letterbox").tolist() == [[[51] * 3, [161] * 3], [[*FILL]] * 2]


def test_of_a_square_picture_all_ways_are_the_same() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    stretched, boxed, cropped = (decode(pixels, 32, resize) for resize in RESIZES)
    np.testing.assert_array_equal(boxed, stretched)
    np.testing.assert_array_equal(cropped, stretched)


@pytest.mark.parametrize("size", [(50, 31), (31, 50), (33, 500), (200, 7), (90, 89)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_programs_that_use_an_export_get_the_same_by_pillow(
    size: tuple[int, int], channels: tuple[int, ...]
) -> None:
    """As docs/export.md tells them."""
    shape = (*size, *channels)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    told: dict[Resize, Callable[[Image.Image], Image.Image]] = {
        "letterbox": lambda rgb: ImageOps.pad(rgb, (32, 32), Image.Resampling.BILINEAR, FILL),
        "crop": lambda rgb: ImageOps.fit(rgb, (32, 32), Image.Resampling.BILINEAR),
    }
    for resize, make in told.items():
        made = make_square(image, 32, resize).convert("RGB")
        np.testing.assert_array_equal(np.asarray(made), np.asarray(make(image.convert("RGB"))))


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_of_a_very_long_picture_letterbox_keeps_a_line_and_crop_a_pixel(
    size: tuple[int, int],
) -> None:
    values = np.zeros(60_000, np.uint8)
    values[30_000:] = 255
    pixels = values.reshape(size[::-1])
    boxed, cropped = decode(pixels, 32, "letterbox"), decode(pixels, 32, "crop")
    lines = boxed if size[0] > 1 else boxed.transpose(1, 0, 2)
    assert lines[16, :, 0].tolist() == [0] * 15 + [32, 223] + [255] * 15  # 1/8 of 255 is 32
    assert np.unique(np.delete(lines, 16, axis=0).reshape(-1, 3), axis=0).tolist() == [[*FILL]]
    # the centre is half of the last black pixel, and half of the first white one
    pixels = cropped if size[0] > 1 else cropped.transpose(1, 0, 2)
    np.testing.assert_allclose(pixels[16, :, 0], 255 * (np.arange(32) + 0.5) / 32, atol=1)


def test_a_turned_picture_is_cropped_as_it_is_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    content = encode(Image.fromarray(ROWS), exif=exif)
    seen = decode_image(content, 4, CAP, resize="letterbox")
    np.testing.assert_array_equal(seen[:, 1:3, 0], ROWS[::-1].T)


def test_the_ways_are_those_of_params_and_stretch_is_the_default(committed: Params) -> None:
    assert (RESIZES, committed.preprocess.resize) == (get_args(Resize), STRETCH)
