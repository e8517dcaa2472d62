"""What decoding a picture costs, and how a picture is refused that costs too much."""

from __future__ import annotations

from pawprint.runner.errors import ImageError, ImageFault


def too_costly(finding: str) -> ImageError:
    """The error that refuses a picture; ``finding`` says what there is too much of."""
    return ImageError(f"costs too much to decode: {finding}", ImageFault.COSTLY)
