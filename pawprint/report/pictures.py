"""Pictures within the page: small JPEGs as data URLs, until the page is large enough."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pawprint.data.labels import read_paths
from pawprint.data.manifest import SPLITS
from pawprint.storage.shards import ShardedArray

MOST_PICTURE_BYTES = 12_000_000  # of all pictures of a page, as they stand there
_QUALITY = 80  # of the JPEGs
_CAPTION_PX = 20  # below an overlay's file, see ``pawprint.inference.overlays``


class PagePictures:
    """The pictures of a data set, as the models see them, small.

    Each is made once, however often it is shown. When all of them together would be larger than
    ``MOST_PICTURE_BYTES``, no other is made: those that are asked for first are shown.

    Args:
        processed: such as ``data/processed``.
        most_bytes: of all pictures together.

    Attributes:
        full: whether a picture had no room.
    """

    def __init__(self, processed: Path, most_bytes: int = MOST_PICTURE_BYTES) -> None:
        self._place = {
            path: (images, row)
            for split in SPLITS
            for images in [ShardedArray(processed / split)]
            for row, path in enumerate(read_paths(processed, split))
        }
        self._left = most_bytes
        self._made: dict[tuple[str, int], str] = {}
        self.full = False

    def show(self, path: str, side_px: int) -> str:
        """A picture as a data URL of a square JPEG, at most so large; empty if there is no room.

        Args:
            path: in the canonical archive; unknown ones have no picture.
            side_px: of the square.
        """
        if (path, side_px) not in self._made and path in self._place:
            images, row = self._place[path]
            self._keep((path, side_px), Image.fromarray(images.gather([row])[0]), side_px)
        return self._made.get((path, side_px), "")

    def show_image(self, name: str, image: np.ndarray) -> str:
        """A picture of no split as a data URL; empty if there is no room.

        Args:
            name: of it, unlike all others.
            image: uint8 [side, side, 3].
        """
        key = (f"\0{name}", len(image))
        if key not in self._made:
            self._keep(key, Image.fromarray(image), len(image))
        return self._made.get(key, "")

    def show_overlay(self, file: Path, path: str, side_px: int) -> str:
        """The heatmap over a picture, of the file that stage gradcam made; empty if there is none.

        Args:
            file: a PNG: the picture, beside it the same under its heatmap, and a caption below.
            path: of the picture.
            side_px: of the square.
        """
        if not file.is_file():
            return ""
        key = (f"{file.name}\0{path}", side_px)
        if key not in self._made:
            with Image.open(file) as image:
                side = image.height - _CAPTION_PX
                overlay = image.convert("RGB").crop((side, 0, 2 * side, side))
            self._keep(key, overlay, side_px)
        return self._made.get(key, "")

    def _keep(self, key: tuple[str, int], image: Image.Image, side_px: int) -> None:
        side = min(side_px, image.width)
        small = io.BytesIO()
        resized = image.resize((side, side), Image.Resampling.LANCZOS)
        resized.save(small, "JPEG", quality=_QUALITY)
        url = f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"
        if len(url) > self._left:
            self.full = True
            return
        self._left -= len(url)
        self._made[key] = url
