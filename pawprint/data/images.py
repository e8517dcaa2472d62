"""The one way in which a picture becomes an array: training, evaluation and serving share it."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, TiffImageFile

from pawprint.registry.file_kinds import HEAD_BYTES, HEIC, recognize
from pawprint.runner.errors import ImageError, ImageFault

# JPEG opens MPO, the JPEG of stereo cameras and telephones, which Pillow registers for writing only
READABLE = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")  # and HEIC by another way
FULL_RANGE = 0  # a max_value: white is the largest number that the pixel's type has
PIXELS_KEY = "preprocess.max_pixels"  # of params.yaml; a server has a limit of its own
MAX_SCANS = 100  # a progressive JPEG has about ten; each is a pass over all pixels
END_OF_JPEG = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a segment with a length, or the end
_DEEP_COLOUR = re.compile("RGBA?;16[BLN]")  # Pillow's names of three or four channels of 16 bits
JPEG_SHARE = 8  # pixels of a JPEG, which is decoded at a reduced size, that cost as much as one
_Box = tuple[int, int, int, int]
_SCAN = b"\xff\xda"
_BAND_PIXELS = 2**20  # converted at once


@dataclass
class PixelBudget:
    """Pixels that several pictures may have together; those of large JPEGs count an eighth.

    Attributes:
        left: what is left of them; below 0 once a picture was refused.
    """

    left: int

    def take(self, pixels: int) -> None:
        """Count a picture, also one that is refused.

        Raises:
            ImageError: too many pixels.
        """
        self.left -= pixels
        if self.left < 0:
            raise ImageError("too many pixels in one request", ImageFault.PIXELS)


def decode_image(
    content: bytes,
    size_px: int,
    max_pixels: int,
    max_value: int = FULL_RANGE,
    budget: PixelBudget | None = None,
) -> np.ndarray:
    """Decode a picture into a square of RGB pixels.

    The format is told by the content, not by the name. Orientation is applied (by EXIF; of a HEIC
    by its own), 16 bits are scaled to 8, transparency is laid over white, of an animation the first
    frame counts, of a HEIC with several pictures its primary one. Colour profiles are ignored, as
    in the data that backbones were trained on. Width and height are scaled independently
    (antialiased bilinear), so that nothing is cut off.

    A picture that lacks pixels is refused. Flipped bits inside of JPEG, HEIC and lossy WebP cannot
    be noticed: these formats have no checksum.

    Args:
        content: the file's bytes.
        size_px: side of the result.
        max_pixels: refuse a larger width times height, read from the header before decoding.
        max_value: the value that becomes white in a picture of 16 bits that does not say its range,
            see ``largest_value``.
        budget: the picture is counted there before it is decoded; None: there is none.

    Returns:
        uint8 [size_px, size_px, 3], RGB in 0...255.

    Raises:
        ImageError: the reason in a few words.
        MemoryError: there is not enough, which says nothing of the picture.
    """
    if not content:
        raise ImageError("empty file", ImageFault.EMPTY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pixel cap below stands for Pillow's own
            return _decode(content, size_px, max_pixels, max_value, budget)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        if _lacks_memory(error):
            raise MemoryError from None
        raise _translate(error, content, max_pixels) from None


def most_file_bytes(max_pixels: int) -> int:
    """The largest file that a picture can need: four channels of 16 bits, and what is around them.

    >>> most_file_bytes(1_000_000)
    24777216
    """
    return 8 * max_pixels + 2**24


def check_file_size(size_bytes: int, max_pixels: int) -> None:
    """Refuse a file that is larger than any picture of ``max_pixels``, before it is read.

    Raises:
        ImageError: both sizes.
    """
    most = most_file_bytes(max_pixels)
    if size_bytes > most:
        raise ImageError(
            f"a file of {size_bytes:,} bytes, more than the {most:,} that the pixels allowed take",
            ImageFault.COSTLY,
        )


def open_image(content: bytes) -> ImageFile:
    """Read a picture's header; nothing is decoded yet.

    Raises:
        ImageError: a HEIC, and nothing is there to read it.
        Exception: any other, of a decoder.
    """
    if recognize(content[:HEAD_BYTES]) is not HEIC:
        return Image.open(io.BytesIO(content), formats=READABLE)
    try:
        from pi_heif import HeifImageFile  # not registered with Pillow: others may do that
    except ImportError:
        raise ImageError(f"{HEIC.name}; install pi-heif to read it", ImageFault.FORMAT) from None
    return cast(ImageFile, HeifImageFile(io.BytesIO(content)))


def largest_value(content: bytes) -> int | None:
    """The largest value of a picture of 16 bits whose file does not say which value is white.

    Microscopes and other cameras write 10 or 12 bits into 16: taken for 16, they come out black.

    Args:
        content: of a file that ``decode_image`` takes.

    Returns:
        The value; None for all other pictures.
    """
    with warnings.catch_warnings(action="ignore"), open_image(content) as image:
        if _told_range(image) is not None:
            return None
        if image.mode.startswith("I"):
            return max(0, int(np.asarray(image).max()))
        return max(int(band[..., :3].max()) for _, band in _deep_bands(image, content))


def _told_range(image: ImageFile) -> int | None:
    """The value that is white, as its file says; None: it has 16 bits, and says nothing.

    HEIC says it, and Netpbm; both arrive here scaled already.

    Args:
        image: not decoded yet.
    """
    if image.format not in ("PNG", "TIFF"):
        return FULL_RANGE
    if not image.mode.startswith("I"):
        return None if _is_deep_colour(image) else FULL_RANGE
    bits = image.tag_v2.get(BITSPERSAMPLE, (16,))[0] if isinstance(image, TiffImageFile) else 16
    return 2**bits - 1 if bits < 16 else None


def _refuse_planes(image: ImageFile) -> None:
    """Refuse colours of 16 bits that are stored plane by plane: Pillow reads noise.

    Raises:
        ImageError: it is such a TIFF.
    """
    if not isinstance(image, TiffImageFile) or image.tag_v2.get(PLANAR_CONFIGURATION) != 2:
        return
    if max(image.tag_v2.get(BITSPERSAMPLE, (8,))) > 8:
        raise ImageError("a TIFF of 16 bits that stores its colours plane by plane; convert it")


def _raw_modes(image: ImageFile) -> list[str]:
    """How the bytes of a picture that is not decoded yet are laid out, as Pillow names it."""
    return [
        tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0])
        for tile in image.tile
    ]


def _is_deep_colour(image: ImageFile) -> bool:
    modes = _raw_modes(image)
    return bool(modes) and all(_DEEP_COLOUR.fullmatch(mode) for mode in modes)


def _deep_bands(image: ImageFile, content: bytes) -> Iterator[tuple[_Box, np.ndarray]]:
    """Colours of 16 bits, some rows at a time; Pillow keeps the upper 8 of them only.

    Told that the bytes stand the other way round, it keeps the lower ones, see
    tests/test_private_sides.py.

    Args:
        image: ``_is_deep_colour``; not decoded yet.
        content: the same file.

    Yields:
        Where the rows are, and their values, uint16 [h, w, 3 or 4].
    """
    with open_image(content) as low:
        turned = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
        low.tile = [
            tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
            for tile, raw in zip(low.tile, _raw_modes(low), strict=True)
            for mode in [raw[:-1] + turned[raw[-1]]]
        ]
        low.load()
        image.load()
        for box in _boxes(image):
            upper, lower = (np.asarray(side.crop(box)) for side in (image, low))
            yield box, upper.astype(np.uint16) << 8 | lower


def _scale_colour(image: ImageFile, content: bytes, white: int) -> None:
    """Decode a ``_is_deep_colour``, and make ``white`` white."""
    levels = _levels(white)
    for box, band in _deep_bands(image, content):
        image.paste(Image.fromarray(levels[band]), box)


def _lacks_memory(error: Exception) -> bool:
    """Whether one of Pillow's decoders found no memory: see tests/test_private_sides.py."""
    return isinstance(error, OSError) and str(error).startswith("out of memory")


def _translate(error: Exception, content: bytes, max_pixels: int) -> ImageError:
    """What a decoder raised, in our words.

    Pillow has no type for a file that ends too early: see tests/test_private_sides.py.
    """
    if isinstance(error, Image.UnidentifiedImageError):
        return ImageError(_name_unidentified(content), ImageFault.FORMAT)
    reason = " ".join(str(error).split()) or type(error).__name__
    if recognize(content[:HEAD_BYTES]) is HEIC:
        reason = f"{HEIC.name} that cannot be decoded: {reason}"
    if isinstance(error, Image.DecompressionBombError):  # more than any max_pixels may be
        found = re.search(r"\d+ pixels", reason)
        return ImageError(found[0] if found else "too many pixels", ImageFault.PIXELS, max_pixels)
    cut_short = "truncated" in reason or "nexpected end of file" in reason
    fault = ImageFault.TRUNCATED if cut_short else ImageFault.DAMAGED
    return ImageError(reason.replace(f"{io.BytesIO.__module__}.", ""), fault)


def _name_unidentified(content: bytes) -> str:
    """What a file is that no decoder wants."""
    kind = recognize(content[:HEAD_BYTES])
    if kind is None:
        return "not a picture in a known format"
    if kind.role == "picture":
        return f"{kind.name} whose header is damaged, or of a sort that is not read"
    advice = f"; {kind.advice}" if kind.advice else ""
    return f"not a picture that can be read: {kind.name}{advice}"


def _decode(
    content: bytes, size_px: int, max_pixels: int, max_value: int, budget: PixelBudget | None
) -> np.ndarray:
    with open_image(content) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(f"{width}x{height} pixels", ImageFault.PIXELS, max_pixels)
        _refuse_planes(image)
        told = _told_range(image)
        white = max_value if told is None else told
        header_bytes = _check_jpeg(content, image) if isinstance(image, JpegImageFile) else 0
        # JPEG: let the decoder itself halve the picture while it stays twice too large.
        image.draft(None, (2 * size_px, 2 * size_px))
        if budget is not None:
            budget.take(max(image.width * image.height, width * height // JPEG_SHARE))
        if white and _is_deep_colour(image):
            _scale_colour(image, content, white)
        image.load()
        if header_bytes and _may_be_cut_short(image):
            _check_whole(content, header_bytes, image, size_px)
        ImageOps.exif_transpose(image, in_place=True)
        square = _flatten(image, white).resize((size_px, size_px), Image.Resampling.BILINEAR)
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


def _flatten(image: Image.Image, white: int) -> Image.Image:
    """RGB, or grey, of 8 bits and without transparency, in little more memory than the result's.

    Args:
        image: any.
        white: the value that becomes white where there are 16 bits, or ``FULL_RANGE``.
    """
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):  # convert("RGB") would clip instead of scaling
        largest = cast(int, image.getextrema()[1]) if image.mode == "I" else 65535
        if largest > 65535:
            raise ImageError(f"32-bit integers up to {largest}, whose range is unknown")
        is_8_bit = largest <= 255
        levels = _levels(white or (255 if is_8_bit else 65535))
        return _in_bands(image, "L", lambda band: _look_up(band, levels))
    if image.has_transparency_data:
        return _in_bands(image, "RGB", _lay_over_white)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _in_bands(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Convert some rows at a time."""
    whole = Image.new(mode, image.size)
    for box in _boxes(image):
        whole.paste(convert(image.crop(box)), box)
    return whole


def _boxes(image: Image.Image) -> Iterator[_Box]:
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _levels(white: int) -> np.ndarray:
    """What each value of 16 bits is in 8: uint8 [65536]."""
    return (np.arange(65536) / white * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _look_up(band: Image.Image, levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels[np.asarray(band).clip(0, 65535)])


def _lay_over_white(band: Image.Image) -> Image.Image:
    layer = band.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
