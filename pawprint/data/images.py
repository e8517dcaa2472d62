"""The one way in which a picture becomes an array: training, evaluation and serving share it."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import cast

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from pawprint.runner.errors import ImageError, ImageFault

# JPEG opens MPO, the JPEG of stereo cameras and telephones, which Pillow registers for writing only
READABLE = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
MAX_SCANS = 100  # a progressive JPEG has about ten; each is a pass over all pixels
END_OF_JPEG = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a segment with a length, or the end
_SCAN = b"\xff\xda"
_BAND_PIXELS = 2**20  # converted at once


def decode_image(content: bytes, size_px: int, max_pixels: int) -> np.ndarray:
    """Decode a picture into a square of RGB pixels.

    The format is told by the content, not by the name. Orientation by EXIF is applied, 16 bits are
    scaled to 8, transparency is laid over white, of an animation the first frame counts. Colour
    profiles are ignored, as in the data that backbones were trained on. Width and height are scaled
    independently (antialiased bilinear), so that nothing is cut off.

    A picture that lacks pixels is refused. Flipped bits inside of JPEG and lossy WebP cannot be
    noticed: these formats have no checksum.

    Args:
        content: the file's bytes.
        size_px: side of the result.
        max_pixels: refuse a larger width times height, read from the header before decoding.

    Returns:
        uint8 [size_px, size_px, 3], RGB in 0...255.

    Raises:
        ImageError: the reason in a few words.
    """
    if not content:
        raise ImageError("empty file", ImageFault.EMPTY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pixel cap below stands for Pillow's own
            return _decode(content, size_px, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise _translate(error) from None


def _translate(error: Exception) -> ImageError:
    """What a decoder raised, in our words.

    Pillow has no type for a file that ends too early: see tests/test_private_sides.py.
    """
    if isinstance(error, Image.UnidentifiedImageError):
        return ImageError("not a picture in a known format", ImageFault.FORMAT)
    reason = " ".join(str(error).split()) or type(error).__name__
    fault = ImageFault.TRUNCATED if "truncated" in reason else ImageFault.DAMAGED
    if isinstance(error, Image.DecompressionBombError):
        fault = ImageFault.PIXELS
    return ImageError(reason.replace(f"{io.BytesIO.__module__}.", ""), fault)


def _decode(content: bytes, size_px: int, max_pixels: int) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=READABLE) as image:
        width, height = image.size
        if width * height > max_pixels:
            text = f"{width}x{height} pixels, more than {max_pixels}"
            raise ImageError(text, ImageFault.PIXELS)
        header_bytes = _check_jpeg(content, image) if isinstance(image, JpegImageFile) else 0
        # JPEG: let the decoder itself halve the picture while it stays twice too large.
        image.draft(None, (2 * size_px, 2 * size_px))
        image.load()
        if header_bytes and _may_be_cut_short(image):
            _check_whole(content, header_bytes, image, size_px)
        ImageOps.exif_transpose(image, in_place=True)
        square = _flatten(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("RGB"))


def _check_jpeg(content: bytes, image: JpegImageFile) -> int:
    """Refuse a JPEG that takes for ever, or never ends; return the size of its header."""
    scans = _count_scans(content)
    if scans > MAX_SCANS:
        raise ImageError(f"{scans} scans, more than {MAX_SCANS}")
    header_bytes = image.fp.tell() if image.fp else 0  # see tests/test_private_sides.py
    if content.rfind(END_OF_JPEG, header_bytes) < 0:  # from the end: nearly always there
        raise ImageError("image file is truncated (it has no end mark)", ImageFault.TRUNCATED)
    return header_bytes


def _count_scans(content: bytes) -> int:
    """Scans up to the first end mark, without those of a preview in the header.

    What follows is not the picture: telephones append a film, stereo cameras another picture.

    Source: ITU-T T.81, annex B (segments begin with their marker and length).
    """
    scans, place = 0, 0
    while (marker := _MARKER.search(content, place)) and marker[0] != END_OF_JPEG:
        scans += marker[0] == _SCAN
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return scans


def _may_be_cut_short(image: Image.Image) -> bool:
    """Whether the last pixel of a JPEG is the grey that stands for a missing one, or may be.

    That it is this grey is the decoder's habit: see tests/test_private_sides.py.
    """
    if image.info.get("progressive") or image.mode not in ("L", "RGB"):
        return True
    return image.getpixel((image.width - 1, image.height - 1)) in (128, (128, 128, 128))


def _check_whole(content: bytes, header_bytes: int, image: Image.Image, size_px: int) -> None:
    """Refuse a JPEG whose end mark comes before its last pixels; the decoder does not mind.

    Nothing that stands between the last pixels and the end mark can change a picture that is whole.
    """
    end = content.find(END_OF_JPEG, header_bytes)
    more = bytes(range(1, 255)) * 4  # small ones first: arithmetic coding leaves out last zeros
    longer = b"".join([content[:end], more, content[end:]])
    with Image.open(io.BytesIO(longer), formats=READABLE) as other:
        other.draft(None, (2 * size_px, 2 * size_px))
        if other.tobytes() != image.tobytes():
            text = "image file is truncated (its end mark comes too early)"
            raise ImageError(text, ImageFault.TRUNCATED)


def _flatten(image: Image.Image) -> Image.Image:
    """RGB, or grey, of 8 bits and without transparency, in little more memory than the result's."""
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):  # convert("RGB") would clip instead of scaling
        is_8_bit = image.mode == "I" and cast(int, image.getextrema()[1]) <= 255
        scaled = np.arange(65536) / (255 if is_8_bit else 65535) * 255 + 0.5
        levels = scaled.clip(0, 255).astype(np.uint8)
        return _in_bands(image, "L", lambda band: _look_up(band, levels))
    if image.has_transparency_data:
        return _in_bands(image, "RGB", _lay_over_white)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _in_bands(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert some rows at a time."""
    whole = Image.new(mode, image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        whole.paste(convert(image.crop(box)), box)
    return whole


def _look_up(band: Image.Image, levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels[np.asarray(band).clip(0, 65535)])


def _lay_over_white(band: Image.Image) -> Image.Image:
    layer = band.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
