"""Heatmaps as colours over their pictures; the plain ones need nothing but NumPy and Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Every fifth of the 256 colours of matplotlib's "inferno", which is in the public domain (CC0):
# a server that draws heatmaps then needs no matplotlib
INFERNO = np.frombuffer(
    bytes.fromhex(
        "00000402020c0504170a072210092d160b391e0c45260c512f0a5b380962400a67490b6a510e6c"
        "59106e61136e69166e71196e781c6d801f6c88226a902568982766a02a63a82e5fb0315bb73557"
        "bf3952c63d4dcc4248d34743d94d3ddf5337e45a31e9612bed6925f1711ff47918f78212f98b0b"
        "fa9407fb9d07fca60cfcb014fbba1ffac42af8cd37f6d746f4e156f2ea69f2f27df5f992fcffa4"
    ),
    np.uint8,
).reshape(52, 3)


def blend_heatmap(image: np.ndarray, heatmap: np.ndarray, opacity: float) -> np.ndarray:
    """Lay the colours of a heatmap over its picture.

    Args:
        image: uint8 [size, size, 3].
        heatmap: float32 [h, w] in 0...1.
        opacity: of the heatmap where it is 1, in 0...1; it fades with the evidence.

    Returns:
        uint8 [size, size, 3].
    """
    size = image.shape[0]
    scaled = Image.fromarray(heatmap).resize((size, size), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(scaled), 0, 1)
    places = np.linspace(0, 1, len(INFERNO))
    colours = np.stack([np.interp(heat, places, INFERNO[:, c]) for c in range(3)], axis=-1)
    alpha = (opacity * np.sqrt(heat))[..., None]
    return (image * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)


def render_overlay(
    path: Path, image: np.ndarray, heatmap: np.ndarray, opacity: float, caption: str
) -> None:
    """Write a PNG: the picture, beside it the same under its heatmap, and a caption below.

    Args:
        path: of the PNG.
        image: uint8 [size, size, 3].
        heatmap: float32 [h, w] in 0...1.
        opacity: see ``blend_heatmap``.
        caption: one line; cut off where it is too long.
    """
    import matplotlib

    size = image.shape[0]
    font_file = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    font = ImageFont.truetype(str(font_file), 12)
    canvas = Image.new("RGB", (2 * size, size + 20), "white")
    canvas.paste(Image.fromarray(image), (0, 0))
    canvas.paste(Image.fromarray(blend_heatmap(image, heatmap, opacity)), (size, 0))
    ImageDraw.Draw(canvas).text((4, size + 3), caption, fill="black", font=font)
    canvas.save(path)
