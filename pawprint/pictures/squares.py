"""Makes a picture a square, in one of the ways of ``pawprint.registry.resizing``."""

from __future__ import annotations

from PIL import Image

from pawprint.registry.resizing import Resize

# Of letterbox: the mean colour of ImageNet. A pretrained network makes it nearly 0, the value that
# its convolutions see beyond the border of any picture; black would be a strong edge.
FILL = (124, 116, 104)


def make_square(image: Image.Image, size_px: int, resize: Resize) -> Image.Image:
    """Scale a picture into a square, antialiased bilinear.

    ``stretch`` scales width and height independently: nothing is cut off, and shapes change.
    ``letterbox`` keeps the ratio of the sides and shows the whole picture, centred; the rest has
    the colour ``FILL``. ``crop`` keeps the ratio and shows the square in the centre.

    The last two give what Pillow's ``ImageOps.pad`` and ``ImageOps.fit`` do; of very long pictures,
    of which ``pad`` leaves nothing, at least one row or column is left.

    Args:
        image: grey or RGB, of 8 bits.
        size_px: side of the result.
        resize: the way.

    Returns:
        size_px by size_px pixels, grey or RGB.
    """
    bilinear, square = Image.Resampling.BILINEAR, (size_px, size_px)
    sides = image.size
    if resize == "stretch":
        return image.resize(square, bilinear)
    if resize == "crop":  # by its box: a copy of the part would take memory
        left, top = ((side - min(sides)) / 2 for side in sides)
        return image.resize(square, bilinear, (left, top, left + min(sides), top + min(sides)))
    width, height = (max(1, round(side / max(sides) * size_px)) for side in sides)
    canvas = Image.new("RGB", square, FILL)
    place = (round((size_px - width) / 2), round((size_px - height) / 2))
    canvas.paste(image.resize((width, height), bilinear).convert("RGB"), place)
    return canvas
