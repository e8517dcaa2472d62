"""Pictures that the server sends: heatmaps, overlays, and what the model sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w, 3 or 4] → a PNG file, small rather than smallest."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()
