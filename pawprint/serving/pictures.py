"""Pictures that the server sends: heatmaps, overlays, and what the model sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pawprint.overlays import INFERNO


def heat_layer(heatmap: np.ndarray, size_px: int) -> np.ndarray:
    """The colours of a heatmap, to be laid over its picture; transparent where it is 0.

    Args:
        heatmap: float32 [h, w] in 0...1.
        size_px: side of the result.

    Returns:
        uint8 [size_px, size_px, 4], RGBA. With its alpha scaled by an opacity and laid over the
        picture it gives what ``pawprint.overlays.blend_heatmap`` does.
    """
    scaled = Image.fromarray(heatmap).resize((size_px, size_px), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(scaled), 0, 1)
    places = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(heat, places, INFERNO[:, c]) for c in range(3)]
    return (np.stack([*channels, 255 * np.sqrt(heat)], axis=-1) + 0.5).astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w, 3 or 4] → a PNG file, small rather than smallest."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()
