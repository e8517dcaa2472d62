"""What decoding a picture costs, and how a picture is refused that costs too much."""

from __future__ import annotations

from pawprint.runner.errors import ImageError, ImageFault

MAX_PASSES = 20  # of a JPEG's decoder, over as many pixels as a picture may have


def too_costly(finding: str) -> ImageError:
    """The error that refuses a picture; ``finding`` says what there is too much of."""
    return ImageError(f"costs too much to decode: {finding}", ImageFault.COSTLY)


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
