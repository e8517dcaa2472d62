"""The one way in which a picture becomes an array: training, evaluation and serving share it."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from pawprint.pictures.costs import too_costly
from pawprint.pictures.deep_pixels import (
    FULL_RANGE,
    boxes,
    deep_channels,
    in_bands,
    largest_number,
    refuse_misread,
    scale_channels,
    scale_grey,
    told_range,
)
from pawprint.pictures.memory import check_decoding_bytes, decoding_bytes
from pawprint.pictures.netpbm import scale_numbers
from pawprint.pictures.squares import make_square
from pawprint.pictures.structure import check_structure
from pawprint.registry.file_kinds import HEAD_BYTES, HEIC, recognize
from pawprint.registry.resizing import STRETCH, Resize
from pawprint.runner.errors import ImageError, ImageFault

# JPEG opens MPO, the JPEG of stereo cameras and telephones, which Pillow registers for writing only
READABLE = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")  # and HEIC by another way
PIXELS_KEY = "preprocess.max_pixels"  # of params.yaml; a server has a limit of its own
LONGEST_SIDE_PX = 1_000_000  # each row takes memory by itself, and is read as a whole
END_OF_JPEG = b"\xff\xd9"
JPEG_SHARE = 8  # pixels of a JPEG, which is decoded at a reduced size, that cost as much as one


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
    max_bytes: int | None = None,
    resize: Resize = STRETCH,
) -> np.ndarray:
    """Decode a picture into a square of RGB pixels.

    The format is told by the content, not by the name. Orientation is applied (by EXIF; of a HEIC
    by its own), 16 bits are scaled to 8, where 0 is white it becomes so, transparency is laid over
    white, of an animation the first frame counts, of a HEIC with several pictures its primary one.
    Colour profiles are ignored, as in the data that backbones were trained on.

    A picture that lacks pixels is refused. Flipped bits inside of JPEG, HEIC and lossy WebP cannot
    be noticed: these formats have no checksum.

    Args:
        content: the file's bytes.
        size_px: side of the result.
        max_pixels: refuse a larger width times height, read from the header before decoding.
        max_value: the value that becomes white, or is full ink, in a picture of 16 bits that does
            not say its range, see ``largest_value``.
        budget: the picture is counted there before it is decoded; None: there is none.
        max_bytes: refuse a picture whose decoding needs more memory, see ``decoding_bytes``; None:
            however much it needs.
        resize: how it becomes a square, see ``pawprint.pictures.squares.make_square``.

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
            return _decode(content, size_px, max_pixels, max_value, budget, max_bytes, resize)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        if _lacks_memory(error):
            raise MemoryError from None
        raise _translate(error, content, max_pixels) from None


def open_image(content: bytes, max_pixels: int) -> ImageFile:
    """Read a picture's header; nothing is decoded yet.

    Args:
        content: the file's bytes.
        max_pixels: as many as a picture may have, see ``check_structure``; one with more is opened.

    Raises:
        ImageError: it costs too much to decode, or it is a HEIC, and nothing is there to read it.
        Exception: any other, of a decoder.
    """
    check_structure(content, max_pixels)
    image = _open(content)
    width, height = image.size
    if max(width, height) > LONGEST_SIDE_PX and width * height <= max_pixels:
        raise too_costly(f"{width}x{height} pixels, more than {LONGEST_SIDE_PX} in a row or column")
    return image


def _open(content: bytes) -> ImageFile:
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
    with warnings.catch_warnings(action="ignore"), _open(content) as image:
        if told_range(image) is not None:
            return None
        with _open(content) as again:
            return largest_number(image, again)


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
        reason = "whose header is damaged, or of a sort that is not read: convert it elsewhere"
        return f"{kind.name} {reason}"
    advice = f"; {kind.advice}" if kind.advice else ""
    return f"not a picture that can be read: {kind.name}{advice}"


def _decode(
    content: bytes,
    size_px: int,
    max_pixels: int,
    max_value: int,
    budget: PixelBudget | None,
    max_bytes: int | None,
    resize: Resize,
) -> np.ndarray:
    with open_image(content, max_pixels) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(f"{width}x{height} pixels", ImageFault.PIXELS, max_pixels)
        refuse_misread(image)
        told = told_range(image)
        white = max_value if told is None else told
        header_bytes = _check_end(content, image) if isinstance(image, JpegImageFile) else 0
        # JPEG: let the decoder itself halve the picture while it stays twice too large.
        image.draft(None, (2 * size_px, 2 * size_px))
        if budget is not None:
            budget.take(max(image.width * image.height, width * height // JPEG_SHARE))
        is_scaled = bool(white and deep_channels(image))
        if max_bytes is not None:
            needed = decoding_bytes(image, content, width * height, is_scaled)
            check_decoding_bytes(needed, max_bytes, image, (width, height))
        scale_numbers(image)
        if is_scaled:
            _scale_channels(image, content, white)
        image.load()
        if header_bytes and _may_be_cut_short(image):
            _check_whole(content, header_bytes, image, size_px)
        image.getexif()  # is kept: see tests/test_private_sides.py
        for source in ("exif", "Raw profile type exif"):
            image.info.pop(source, None)  # it would be written anew, without the orientation
        ImageOps.exif_transpose(image, in_place=True)
        square = make_square(_flatten(image, white), size_px, resize)
    return np.asarray(square if square.mode == "RGB" else square.convert("RGB"))


def _scale_channels(image: ImageFile, content: bytes, white: int) -> None:
    with _open(content) as again:  # is forgotten with this function
        scale_channels(image, again, white)


def _check_end(content: bytes, image: JpegImageFile) -> int:
    """Refuse a JPEG that never ends; return the size of its header."""
    header_bytes = image.fp.tell() if image.fp else 0  # see tests/test_private_sides.py
    if content.rfind(END_OF_JPEG, header_bytes) < 0:  # from the end: nearly always there
        raise ImageError("image file is truncated (it has no end mark)", ImageFault.TRUNCATED)
    return header_bytes


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
        if any(other.crop(box).tobytes() != image.crop(box).tobytes() for box in boxes(image)):
            text = "image file is truncated (its end mark comes too early)"
            raise ImageError(text, ImageFault.TRUNCATED)


def _flatten(image: Image.Image, white: int) -> Image.Image:
    """RGB, or grey, of 8 bits and without transparency, in little more memory than the result's.

    Args:
        image: any.
        white: the value that becomes white where there are 16 bits, or ``FULL_RANGE``.
    """
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is unknown; convert it to 16 bits")
    if image.mode.startswith("I"):  # convert("RGB") would clip instead of scaling
        return scale_grey(image, white)
    if image.has_transparency_data:
        return in_bands(image, "RGB", _lay_over_white)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _lay_over_white(band: Image.Image) -> Image.Image:
    layer = band.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
