"""Pictures with more than 8 bits a channel: what their numbers mean, and these in 8 bits.

Pillow keeps the upper 8 bits of colours, and takes grey as it comes: it turns nothing round, and
says of no number whether it is white.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from pawprint.runner.errors import ImageError

FULL_RANGE = 0  # a max_value: white is the largest number that the pixel's type has
_Box = tuple[int, int, int, int]
_BAND_PIXELS = 2**20  # converted at once
_MIN_IS_WHITE = 0  # of PHOTOMETRIC_INTERPRETATION
_SIGNED = 2  # of SAMPLEFORMAT
_UNKNOWN = "whose range is unknown; convert it to 16 bits without a sign"
# Pillow's names of channels of 16 bits → mode of the same pixels in 8 bits
_DEEP = {"RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBa", "CMYK": "CMYK", "LA": "LA"}
_RAW_MODE = re.compile("(?P<channels>[A-Za-z]+);16(?P<order>[BLN])")
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def told_range(image: ImageFile) -> int | None:
    """The value that is white, as its file says; None: it has 16 bits, and says nothing.

    HEIC says it, and Netpbm; both arrive here scaled already.

    Args:
        image: not decoded yet.
    """
    if image.format not in ("PNG", "TIFF"):
        return FULL_RANGE
    if not image.mode.startswith("I"):
        return None if deep_channels(image) else FULL_RANGE
    bits = _bits(image) if isinstance(image, TiffImageFile) else 16
    return 2**bits - 1 if bits < 16 else None


def refuse_misread(image: ImageFile) -> None:
    """Refuse what Pillow would read as another picture, without a word.

    Args:
        image: not decoded yet.

    Raises:
        ImageError: it is such a TIFF.
    """
    if not isinstance(image, TiffImageFile):
        return
    if image.tag_v2.get(PLANAR_CONFIGURATION) == 2 and _bits(image) > 8:
        raise ImageError("a TIFF of 16 bits that stores its colours plane by plane; convert it")
    if _SIGNED not in image.tag_v2.get(SAMPLEFORMAT, ()):
        return
    if _bits(image) <= 8:
        raise ImageError(f"a TIFF of signed numbers of 8 bits, {_UNKNOWN}")
    if image.tag_v2.prefix == b"MM" and any(tile.codec_name == "libtiff" for tile in image.tile):
        raise ImageError(
            "a TIFF of signed numbers that is compressed, its upper bytes first; convert it to 16 "
            "bits without a sign"
        )


def _bits(image: TiffImageFile) -> int:
    return cast(int, max(image.tag_v2.get(BITSPERSAMPLE, (8,))))


def deep_channels(image: ImageFile) -> str:
    """The channels of a picture of several that have 16 bits each; empty for all others.

    Args:
        image: not decoded yet.
    """
    found = {
        match["channels"] if (match := _RAW_MODE.fullmatch(raw)) else ""
        for raw in _raw_modes(image)
    }
    channels = found.pop() if len(found) == 1 else ""
    return channels if channels in _DEEP else ""


def _raw_modes(image: ImageFile) -> list[str]:
    """How the bytes of a picture that is not decoded yet are laid out, as Pillow names it."""
    return [
        tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0])
        for tile in image.tile
    ]


def _read_as(image: ImageFile, raw_mode: Callable[[str], str]) -> None:
    """Decode a picture as if its bytes were laid out in another way."""
    image.tile = [
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        for tile, raw in zip(image.tile, _raw_modes(image), strict=True)
        for mode in [raw_mode(raw)]
    ]
    image.load()


def deep_bands(image: ImageFile, again: ImageFile) -> Iterator[tuple[_Box, np.ndarray]]:
    """Channels of 16 bits, some rows at a time; Pillow keeps the upper 8 of them only.

    Told that the bytes stand the other way round, it keeps the lower ones; grey with alpha, of
    which it knows one way only, is read as four channels of a byte. See
    tests/test_private_sides.py.

    Args:
        image: has ``deep_channels``; not decoded yet.
        again: the same.

    Yields:
        Where the rows are, and their values, uint16 [h, w, channels]; of RGBX and RGBa those of
        RGB, and of RGBA that are multiplied by alpha.
    """
    if deep_channels(image) == "LA":
        _read_as(again, lambda raw: "RGBA")
        image.load()
        for box in boxes(image):
            parts = np.asarray(again.crop(box))
            yield box, parts[..., ::2].astype(np.uint16) << 8 | parts[..., 1::2]
        return
    # By RGBa, Pillow would divide by alpha, each byte by another
    _read_as(image, lambda raw: raw.replace("RGBa", "RGBA"))
    _read_as(again, lambda raw: raw.replace("RGBa", "RGBA")[:-1] + _OTHER_ORDER[raw[-1]])
    for box in boxes(image):
        upper, lower = (np.asarray(side.crop(box)) for side in (image, again))
        yield box, upper.astype(np.uint16) << 8 | lower


def scale_channels(image: ImageFile, again: ImageFile, white: int) -> None:
    """Decode a picture that has ``deep_channels``.

    Args:
        image: not decoded yet; it gets the pixels of 8 bits.
        again: the same.
        white: the value of full light, full ink, or no transparency.
    """
    levels, mode = _levels(white), _DEEP[deep_channels(image)]
    for box, band in deep_bands(image, again):
        size = (box[2] - box[0], box[3] - box[1])
        scaled = Image.frombytes(mode, size, levels[band].tobytes())
        image.paste(scaled.convert(image.mode), box)


def largest_number(image: ImageFile, again: ImageFile) -> int:
    """Of all channels but alpha of a picture of 16 bits or more.

    Args:
        image: not decoded yet.
        again: the same.
    """
    channels = deep_channels(image)
    if not channels:
        return max(0, int(np.asarray(image).max()))
    alpha = channels[-1] in "Aa"
    return max(
        int(band[..., : band.shape[2] - alpha].max()) for _, band in deep_bands(image, again)
    )


def scale_grey(image: Image.Image, white: int) -> Image.Image:
    """Grey of more than 8 bits in 8.

    Args:
        image: decoded; its mode begins with ``I``.
        white: the value that becomes white, or black where the file says that 0 is white; or
            ``FULL_RANGE``.

    Raises:
        ImageError: there are numbers below 0, or above 65535.
    """
    lowest, largest = cast(tuple[int, int], image.getextrema() if image.mode == "I" else (0, 65535))
    if lowest < 0:
        raise ImageError(f"signed numbers down to {lowest}, {_UNKNOWN}")
    if largest > 65535:
        raise ImageError(f"32-bit integers up to {largest}, {_UNKNOWN}")
    levels = _levels(white or _full_range(image, largest))
    if (
        isinstance(image, TiffImageFile)
        and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _MIN_IS_WHITE
    ):
        levels = 255 - levels  # of 8 bits, Pillow does it
    return in_bands(image, "L", lambda band: Image.fromarray(levels[np.asarray(band)]))


def _full_range(image: Image.Image, largest: int) -> int:
    if not isinstance(image, TiffImageFile) or image.mode != "I":
        return 65535
    if _bits(image) == 16:  # signed, or Pillow had another mode
        return 32767
    return 255 if largest <= 255 else 65535


def _levels(white: int) -> np.ndarray:
    """What each value of 16 bits is in 8: uint8 [65536]."""
    return (np.arange(65536) / white * 255 + 0.5).clip(0, 255).astype(np.uint8)


def in_bands(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert some rows at a time."""
    whole = Image.new(mode, image.size)
    for box in boxes(image):
        whole.paste(convert(image.crop(box)), box)
    return whole


def boxes(image: Image.Image) -> Iterator[_Box]:
    """Some rows each, from top to bottom."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)
