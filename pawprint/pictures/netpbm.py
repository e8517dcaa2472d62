"""Netpbm pictures whose white is neither 255 nor 65535: cameras write 1023 or 4095, too."""

from __future__ import annotations

import io
from typing import cast

import numpy as np
from PIL.ImageFile import ImageFile


def scale_numbers(image: ImageFile) -> None:
    """Have the numbers of such a picture scaled all at once; others are left as they are.

    Pillow scales one number after the other, half a microsecond each: 50 s for 100 megapixels. The
    results are the same, see tests/test_private_sides.py.

    Args:
        image: not decoded yet.
    """
    if [tile.codec_name for tile in image.tile] != ["ppm"] or image.fp is None:
        return
    tile = image.tile[0]
    raw_mode, white = cast(tuple[str, int], tile.args)
    shown, stored, layout = (65535, ">u2", "I;16B") if image.mode == "I" else (255, "u1", raw_mode)
    read = np.dtype(">u2" if white > 255 else "u1")
    content = cast(io.BytesIO, image.fp).getvalue()  # which copies nothing
    there = (len(content) - tile.offset) // read.itemsize
    wanted = image.width * image.height * len(image.getbands())
    numbers = np.frombuffer(content, read, min(wanted, there), tile.offset)
    levels = np.minimum(np.rint(np.arange(2 ** (8 * read.itemsize)) / white * shown), shown)
    image.fp = io.BytesIO(levels.astype(stored)[numbers].data)
    image.tile = [tile._replace(codec_name="raw", offset=0, args=layout)]
