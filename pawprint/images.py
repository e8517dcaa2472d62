"""The one way in which a picture becomes an array: training, evaluation and serving share it."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from pawprint.errors import ImageError

# JPEG opens MPO, the JPEG of stereo cameras and telephones, which Pillow registers for writing only
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")


def decode_image(content: bytes, size_px: int, max_pixels: int) -> np.ndarray:
    """Decode a picture into a square of RGB pixels.

    The format is told by the content, not by the name. Orientation by EXIF is applied, 16 bits are
    scaled to 8, transparency is laid over white, of an animation the first frame counts. Width and
    height are scaled independently (antialiased bilinear), so that nothing is cut off.

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
        raise ImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pixel cap below stands for Pillow's own
            return _decode(content, size_px, max_pixels)
    except ImageError:
        raise
    except (MemoryError, Exception) as error:  # decoders raise almost anything on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not a picture in a known format"
        raise ImageError(reason.replace(f"{io.BytesIO.__module__}.", "")) from None


def _decode(content: bytes, size_px: int, max_pixels: int) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(f"{width}x{height} pixels, more than {max_pixels}")
        # JPEG: let the decoder itself halve the picture while it stays twice too large.
        image.draft(None, (2 * size_px, 2 * size_px))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        square = _to_rgb(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(square)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image  # convert would copy it
    if image.mode.startswith("I"):  # convert("RGB") would clip instead of scaling
        values = np.asarray(image)
        top = 65535 if values.max(initial=0) > 255 or image.mode != "I" else 255
        scaled = np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
