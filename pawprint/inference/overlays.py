"""Heatmaps as colours over their pictures; the plain ones need nothing but NumPy and Pillow."""

from __future__ import annotations

from collections.abc import Mapping
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
    colours, alpha = _colour(heatmap, image.shape[0])
    alpha *= opacity
    return (image * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)


def heat_layer(heatmap: np.ndarray, size_px: int) -> np.ndarray:
    """The colours of a heatmap, to be laid over its picture; transparent where it is 0.

    Args:
        heatmap: float32 [h, w] in 0...1.
        size_px: side of the result.

    Returns:
        uint8 [size_px, size_px, 4], RGBA. With its alpha scaled by an opacity and laid over the
        picture it gives what ``blend_heatmap`` does.
    """
    colours, alpha = _colour(heatmap, size_px)
    return (np.concatenate([colours, 255 * alpha], axis=-1) + 0.5).astype(np.uint8)


def _colour(heatmap: np.ndarray, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours, float [size, size, 3] in 0...255, and their cover, [size, size, 1] in 0...1."""
    scaled = Image.fromarray(heatmap).resize((size_px, size_px), Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(scaled), 0, 1)
    places = np.linspace(0, 1, len(INFERNO))
    colours = np.stack([np.interp(heat, places, INFERNO[:, c]) for c in range(3)], axis=-1)
    return colours, np.sqrt(heat)[..., None]


def render_overlays(
    directory: Path,
    captions: Mapping[str, str],
    images: np.ndarray,
    heatmaps: np.ndarray,
    opacity: float,
) -> None:
    """Write one ``<name>.png`` for each picture, see ``render_overlay``.

    Args:
        directory: where.
        captions: name of the file, without its suffix → caption; n of them.
        images: uint8 [n, size, size, 3].
        heatmaps: float32 [n, h, w] in 0...1.
        opacity: see ``blend_heatmap``.
    """
    for (name, caption), image, heatmap in zip(captions.items(), images, heatmaps, strict=True):
        render_overlay(directory / f"{name}.png", image, heatmap, opacity, caption)


def render_overlay(
    path: Path, image: np.ndarray, heatmap: np.ndarray, opacity: float, caption: str
) -> None:
    """Write a PNG: the picture, beside it the same under its heatmap, and a caption below.

    Args:
        path: of the PNG.
        image: uint8 [size, size, 3].
        heatmap: float32 [h, w] in 0...1.
        opacity: see ``blend_heatmap``.
        caption: one line; cut off where it is too long. That a heatmap is empty is said before it.
    """
    import matplotlib

    size = image.shape[0]
    font_file = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    font = ImageFont.truetype(str(font_file), 12)
    if not heatmap.any():
        caption = f"no positive evidence | {caption}"
    canvas = Image.new("RGB", (2 * size, size + 20), "white")
    canvas.paste(Image.fromarray(image), (0, 0))
    canvas.paste(Image.fromarray(blend_heatmap(image, heatmap, opacity)), (size, 0))
    ImageDraw.Draw(canvas).text((4, size + 3), caption, fill="black", font=font)
    canvas.save(path)
