"""How much memory it takes to decode a picture, told before that."""

from __future__ import annotations

import re
from math import ceil, prod

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    TILELENGTH,
    TILEWIDTH,
    TiffImageFile,
)

from pawprint.runner.errors import ImageError, ImageFault

_MB = 1_000_000
_REST_BYTES = 8 * _MB  # what the smallest picture takes
_ROW_BYTES = 28  # of each row or column, whichever there are more of
_BAND_PIXELS = 2**20  # converted at once, see ``pawprint.pictures.deep_pixels``
# Bytes a pixel of each of Pillow's modes; all others have four
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_COPIES = {"JPEG": 2, "MPO": 2, "WEBP": 1, "AVIF": 1, "HEIF": 2}  # that decoders make of the file
_AV1_CONFIG = re.compile(rb"av1C\x81.(.)", re.DOTALL)
_TURNED = re.compile(rb'tiff:Orientation(?:="|>)[2-8]')  # in XMP
_HEVC_PLANES = {420: 1.5, 422: 2.0, 444: 3.0}  # values a pixel
_YCBCR = 6  # of PHOTOMETRIC_INTERPRETATION
_JPEG = 7  # of COMPRESSION
_ORIENTATION = 0x0112


def decoding_bytes(
    image: ImageFile, content: bytes, file_pixels: int, is_scaled: bool = False
) -> int:
    """The most memory that ``decode_image`` takes at one time; the file itself comes on top.

    Each format has a model of what is kept at the same time: the decoder's own planes, Pillow's
    pixels, a copy of these in RGB or turned upright. Peaks of a process of its own above rest, in
    bytes a pixel, at 12 megapixels (Pillow 13.0, libwebp 1.6, libavif 1.4, libheif 1.23):

    - BMP, PNG, PPM, TIFF: 1.2 grey, 4.3 colours, 5.3 palette or bits, 6.6 these with a transparent
      value, 8.4 inks, 9.9 with alpha, 8.1 colours that are turned; PPM of other ranges 7
    - 16 bits: grey 3.9; channels that are scaled 11.8, with alpha 14.1
    - TIFF, compressed: 3 to 8 more for its largest strip or tile
    - GIF: 5.3, with a transparent value 6.6 to 7.6
    - WebP: 16.2, with alpha 17.9
    - AVIF: 3.9 grey, 9.6 to 11.3 colours, alpha 4.3 more
    - HEIC: 2.9 grey, 7.5 to 9.4 colours, alpha 2.6 to 3.3 more; of 10 bits up to 20.7
    - JPEG: 1.3 grey, 4.3 colours, of the pixels that ``draft`` leaves; in several scans twice that,
      and 2 more for each value of the full size

    The estimate was 1 to 1.5 times the peak for all of these, from 1 to 48 megapixels, but for a
    JPEG in one scan: its last pixel may make it decoded twice, which no header tells.

    Args:
        image: opened, not decoded yet; a JPEG after its ``draft``.
        content: the same file.
        file_pixels: width times height, as the file states them.
        is_scaled: it has channels of 16 bits that ``scale_channels`` will scale.
    """
    stored = _STORED.get(image.mode, 4)
    reading, kept = _of_decoder(image, content, stored)
    flat, in_band = _of_flattening(image)
    if is_scaled:
        reading, in_band = reading + stored, 44
    elif isinstance(image, JpegImageFile):
        in_band = 6 * stored  # rows of both, when it is decoded twice
    turning = 2 * stored if _is_turned(image, content) else 0
    per_pixel = max(reading, kept + turning, kept + stored + flat)
    pixels = image.width * image.height
    coefficients = _coefficients(image, content, file_pixels)
    copies = _COPIES.get(str(image.format), 0) * len(content)
    parts = in_band * min(pixels, _BAND_PIXELS) + _ROW_BYTES * max(image.size)
    return ceil(pixels * per_pixel + coefficients) + parts + copies + _REST_BYTES


def check_decoding_bytes(
    needed: int, max_bytes: int, image: ImageFile, size: tuple[int, int]
) -> None:
    """Refuse a picture that takes too much memory, before it is decoded.

    Args:
        needed: see ``decoding_bytes``.
        max_bytes: as many as it may take.
        image: the picture.
        size: its width and height, as its file states them.

    Raises:
        ImageError: of the kind ``COSTLY``, with both figures.
    """
    if needed > max_bytes:
        figures = f"about {ceil(needed / _MB)} MB to decode, more than {max_bytes // _MB} MB"
        text = f"{size[0]}x{size[1]} {image.format} needs {figures}"
        raise ImageError(text, ImageFault.COSTLY)


def _of_flattening(image: ImageFile) -> tuple[int, int]:
    """Bytes a pixel of the copy in RGB or grey, and of the rows at work."""
    if image.has_transparency_data:
        return 4, 22
    if image.mode.startswith("I"):
        return 1, 18
    return (0 if image.mode in ("L", "RGB", "F") else 4), 0


def _of_decoder(image: ImageFile, content: bytes, stored: int) -> tuple[float, float]:
    """Bytes a pixel while a picture is read, and those that its decoder keeps for longer."""
    channels = len(image.getbands())
    match image.format:
        case "JPEG" | "MPO":
            return 2 * stored, 0  # see ``_check_whole`` of images.py
        case "GIF":
            return stored + 1, 1
        case "WEBP":
            return 12 + stored, 8  # two canvases, and what Pillow copies from one
        case "AVIF":
            kept = 1 + _av1_planes(content) + (1.5 if image.mode == "RGBA" else 0)
            return kept + channels + stored, kept
        case "HEIF":
            return _of_heic(image, channels, stored)
        case "TIFF" if isinstance(image, TiffImageFile):
            return stored + _of_strip(image), 0
        case "PPM" if image.tile[0].codec_name == "ppm":
            raw = 2 if image.mode == "I" else channels
            return max(2 * raw, raw + stored), 0  # see ``scale_numbers``
    return stored, 0


def _av1_planes(content: bytes) -> float:
    """Bytes a pixel of an AVIF's planes, of the part that has most.

    Source: AV1 Codec ISO Media File Format Binding, section 2.3.3.
    """
    planes = 0.0
    for config in _AV1_CONFIG.finditer(content):
        flags = config[1][0]
        is_grey, halves = flags & 0x10, (flags >> 3 & 1) + (flags >> 2 & 1)
        values = 1 if is_grey else 1 + 2 / 2**halves
        planes = max(planes, values * (2 if flags & 0x40 else 1))
    return planes or 6


def _of_heic(image: ImageFile, channels: int, stored: int) -> tuple[float, float]:
    depth = 1 if image.info.get("bit_depth") == 8 else 2
    chroma = image.info.get("chroma")
    colours = next((values for name, values in _HEVC_PLANES.items() if name == chroma), 1)
    planes = depth * (colours + (channels in (2, 4)))
    between = channels * (1 if chroma == 420 else depth)
    kept = channels if getattr(image, "is_animated", False) else 0
    return max(planes + between, stored) + channels, kept


def _of_strip(image: TiffImageFile) -> float:
    """Bytes of the largest strip or tile of a compressed TIFF, for each pixel of the picture."""
    if all(tile.codec_name != "libtiff" for tile in image.tile):
        return 0
    tags = image.tag_v2
    wide, high = tags.get(TILEWIDTH, image.width), tags.get(TILELENGTH, image.height)
    if TILEWIDTH not in tags:
        high = min(max(image.size), tags.get(ROWSPERSTRIP, 2**32))
    bits = tags.get(BITSPERSAMPLE, (1,))
    planes = 1 if tags.get(PLANAR_CONFIGURATION) == 2 else tags.get(SAMPLESPERPIXEL, 1)
    each = max(bits) * planes / 8
    if tags.get(PHOTOMETRIC_INTERPRETATION) == _YCBCR and tags.get(COMPRESSION) != _JPEG:
        each += 4  # libtiff makes it RGB
    return each * wide * high / (image.width * image.height)


def _is_turned(image: ImageFile, content: bytes) -> bool:
    """Whether the picture is turned upright by what its header says, or may be."""
    if image.format in ("GIF", "BMP", "PPM", "HEIF"):
        return False
    if image.format == "PNG" and "exif" not in image.info:  # asked for it, Pillow would decode
        known = b"eXIf" in content or b"Raw profile type exif" in content
        return known or any(map(_TURNED.search, (content, image.info.get("xmp", b""))))
    return image.getexif().get(_ORIENTATION, 1) != 1


def _coefficients(image: ImageFile, content: bytes, file_pixels: int) -> float:
    """Bytes that a JPEG keeps of all its pixels until the last scan is read."""
    if not isinstance(image, JpegImageFile) or _is_one_scan(image, content):
        return 0
    # Of each colour: how many of its values a block has, see tests/test_private_sides.py
    factors = [(wide, high) for _, wide, high, _ in image.layer]
    largest = prod(max(each) for each in zip(*factors, strict=True))
    return 2 * file_pixels * sum(wide * high for wide, high in factors) / max(1, largest)


def _is_one_scan(image: JpegImageFile, content: bytes) -> bool:
    """Whether the first scan of a JPEG has all colours, each as a whole."""
    end = image.fp.tell() if image.fp else 0  # of the first scan's header
    named = content[max(0, end - 2 * image.layers - 4) :][:1]  # how many colours it has
    return not image.info.get("progressive") and named == bytes([image.layers])
