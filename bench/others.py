"""Draws pictures of no class.

Those in data/others are drawn by it. Picture ``i`` of a kind follows from the two alone. They are
drawings, and so are their folders' names: a model that rejects all of them has not been shown a
photograph of anything else.
"""

from __future__ import annotations

import argparse
import io
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pawprint.runner.files import atomic_write
from pawprint.sources.sample import draw_room

SIDE_PX = 160
COUNT = 20  # of each kind in data/others
Rng = np.random.Generator


def draw_other(kind: str, index: int) -> bytes:
    """One picture, the bytes of a PNG or JPEG.

    Args:
        kind: of ``KINDS``.
        index: 0 or more.
    """
    if kind == ROOMS:
        return _shrink(draw_room(index, seed=0))
    rng = np.random.default_rng([index, *kind.encode()])
    file = io.BytesIO()
    image = KINDS[kind](rng)
    if kind == NOISE:
        image.save(file, "JPEG", quality=75)
    else:
        image.quantize(16).save(file, "PNG", optimize=True)
    return file.getvalue()


def file_name(kind: str, index: int) -> str:
    """Of that picture: ``drawn-shapes/000.png``."""
    return f"{kind}/{index:03d}.{'jpg' if kind in (NOISE, ROOMS) else 'png'}"


def _shrink(jpeg: bytes) -> bytes:
    """A picture whose longer side is ``SIDE_PX``."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.thumbnail((SIDE_PX, SIDE_PX))
        image.save(file, "JPEG", quality=75)
    return file.getvalue()


def _colour(rng: Rng) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _draw_shapes(rng: Rng) -> Image.Image:
    """A few flat shapes of one colour each."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 7))):
        x, y, w, h = (rng.uniform(0, 1, 4) * SIDE_PX).astype(int).tolist()
        box, colour = (x, y, x + w // 2, y + h // 2), _colour(rng)
        shape = rng.integers(0, 4)
        if shape == 0:
            pen.rectangle(box, fill=colour)
        elif shape == 1:
            pen.ellipse(box, fill=colour)
        elif shape == 2:
            pen.polygon([(x, y), (x + w // 2, y), (x, y + h // 2)], fill=colour)
        else:
            pen.line(box, fill=colour, width=int(rng.integers(2, 12)))
    return image


def _draw_noise(rng: Rng) -> Image.Image:
    """Noise, fine or coarse, grey or coloured; a gradient; or a picture that is nearly blank."""
    kind, bands = rng.integers(0, 4), int(rng.choice([1, 3]))
    if kind == 0:
        side = int(rng.choice([8, 40, SIDE_PX]))
        planes = rng.integers(0, 256, (side, side, bands)).astype(np.uint8)
    elif kind == 1:
        ramp = np.linspace(0, 1, SIDE_PX)[None, :, None]
        first, second = rng.uniform(0, 255, (2, 1, 1, bands))
        planes = np.repeat(first + (second - first) * ramp, SIDE_PX, axis=0).astype(np.uint8)
    else:
        flat = rng.uniform(0, 255, (1, 1, bands)) + rng.normal(0, 4, (SIDE_PX, SIDE_PX, bands))
        planes = flat.clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(planes, 3 // bands, axis=2))
    return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def _draw_text(rng: Rng) -> Image.Image:
    """A few large letters."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), _colour(rng))
    pen = ImageDraw.Draw(image)
    letters = list(string.ascii_letters + string.digits)
    for row in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(letters, int(rng.integers(1, 9))))
        font = ImageFont.load_default(float(rng.integers(16, 60)))
        place = (int(rng.integers(0, 40)), 45 * row + int(rng.integers(0, 20)))
        pen.text(place, text, fill=_colour(rng), font=font)
    return image


def _draw_document(rng: Rng) -> Image.Image:
    """A page with a heading, lines of text, and perhaps a table."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(rng.integers(235, 256, 3).tolist()))
    pen, ink = ImageDraw.Draw(image), tuple(rng.integers(0, 70, 3).tolist())
    margin, y = int(rng.integers(6, 24)), int(rng.integers(4, 16))
    letters = list(string.ascii_lowercase) + [" "] * 6
    for line in range(int(rng.integers(6, 16))):
        size = 14.0 if line == 0 else 8.0
        text = "".join(rng.choice(letters, int(rng.integers(12, 32))))
        pen.text((margin, y), text, fill=ink, font=ImageFont.load_default(size))
        y += int(size) + 2
    if rng.random() < 0.5:
        for x in range(margin, SIDE_PX - margin, 24):
            pen.line((x, y, x, SIDE_PX - 4), fill=ink)
        for low in range(y, SIDE_PX - 3, 12):
            pen.line((margin, low, SIDE_PX - margin, low), fill=ink)
    return image


NOISE, ROOMS = "drawn-noise", "drawn-rooms"
KINDS: dict[str, Callable[[Rng], Image.Image]] = {
    "drawn-documents": _draw_document,
    NOISE: _draw_noise,
    "drawn-shapes": _draw_shapes,
    "drawn-text": _draw_text,
}


def draw_all(folder: Path, count: int) -> None:
    """Write so many pictures of each kind, each kind into a folder of its own."""
    for kind in (*KINDS, ROOMS):
        for index in range(count):
            with atomic_write(folder / file_name(kind, index)) as file:
                file.write(draw_other(kind, index))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.others", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of its own for each kind goes there")
    parser.add_argument("count", type=int, nargs="?", default=COUNT, help="of each (%(default)s)")
    arguments = parser.parse_args()
    draw_all(arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
