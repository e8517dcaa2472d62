"""The memory that a picture takes is told from its header, and what is told is true."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus import chunk, encode, heic, jpeg, pictures
from costly_tiff import stripped, tiff
from PIL import Image

from pawprint.pictures.images import decode_image
from pawprint.runner.errors import ImageError, ImageFault

CAP = 100_000_000
MEASURE = """
import json, re, sys
from pathlib import Path
from PIL import AvifImagePlugin, GifImagePlugin, TiffImagePlugin, WebPImagePlugin
import pi_heif
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import ImageError
content, size_px, max_value = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
resize = sys.argv[4]
def used(name):
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e6
Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: proc(5)
before = used("VmRSS")
decode_image(content, size_px, 100_000_000, max_value, resize=resize)
peak = used("VmHWM") - before
try:
    decode_image(content, size_px, 100_000_000, max_value, max_bytes=0, resize=resize)
except ImageError as error:
    print(json.dumps([peak, int(re.search(r"needs about (\\d+) MB", str(error))[1])]))
"""


def flat(mode: str = "RGB", size: tuple[int, int] = (4000, 3000)) -> Image.Image:
    return Image.new(mode, size)


def deep_png() -> bytes:
    header = struct.pack(">IIBBBBB", 4000, 3000, 16, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3000 * (1 + 4000 * 6)), 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def one_strip() -> bytes:
    pixels = zlib.compress(bytes(4000 * 3000 * 3), 1)
    return tiff(stripped(4000, 3000, 3000, len(pixels)), pixels)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(flat(), "PNG", exif=exif)


PICTURES: dict[str, tuple[Callable[[], bytes], int, int]] = {
    "colour.png": (lambda: encode(flat()), 224, 0),
    "turned.png": (turned, 224, 0),
    "alpha.png": (lambda: encode(flat("RGBA")), 224, 0),
    "16 bits grey.png": (lambda: encode(flat("I;16")), 224, 0),
    "16 bits, scaled.png": (deep_png, 224, 4095),
    "palette.gif": (lambda: encode(flat("L"), "GIF", transparency=3), 224, 0),
    "colour.webp": (lambda: encode(flat(), "WEBP", method=0), 224, 0),
    "one strip.tif": (one_strip, 224, 0),
    "other range.ppm": (lambda: b"P6 4000 3000 1000\n" + bytes(4000 * 3000 * 6), 224, 0),
    "colour.avif": (lambda: encode(flat(), "AVIF", speed=10), 224, 0),
    "colour.heic": (lambda: heic(flat(size=(2400, 1800))), 224, 0),
    "progressive.jpg": (lambda: jpeg(flat(), progressive=True), 224, 0),
    "progressive, not reduced.jpg": (lambda: jpeg(flat(), progressive=True), 1001, 0),
    "inks.jpg": (lambda: jpeg(flat("CMYK"), quality=30), 1001, 0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in other units")
@pytest.mark.parametrize("name", PICTURES)
def test_the_estimate_is_an_upper_bound_and_not_far_above(name: str, tmp_path: Path) -> None:
    make, size_px, max_value = PICTURES[name]
    peak, estimate = measure(tmp_path / "picture", make(), size_px, max_value, "stretch")
    assert peak > 20
    assert estimate / 1.5 <= peak <= estimate


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in other units")
@pytest.mark.parametrize("resize", ["letterbox", "crop"])
@pytest.mark.parametrize("size", [(60_000, 150), (150, 60_000)])
def test_it_is_of_long_pictures_in_other_squares(
    resize: str, size: tuple[int, int], tmp_path: Path
) -> None:
    content = encode(flat("RGB", size))
    peak, estimate = measure(tmp_path / "picture", content, 224, 0, resize)
    assert peak > 20
    assert estimate / 1.5 <= peak <= estimate


def measure(
    path: Path, content: bytes, size_px: int, max_value: int, resize: str
) -> tuple[float, float]:
    """What decoding took at most, and what was foretold, in MB."""
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(size_px), str(max_value), resize],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    peak, estimate = json.loads(done.stdout)
    return peak, estimate


def test_a_picture_that_needs_more_than_it_may_is_refused_with_both_figures() -> None:
    content = encode(Image.new("RGB", (3000, 2000)), "WEBP", method=0)
    with pytest.raises(ImageError) as caught:
        decode_image(content, 32, CAP, max_bytes=50_000_000)
    assert caught.value.fault is ImageFault.COSTLY
    assert str(caught.value) == "3000x2000 WEBP needs about 105 MB to decode, more than 50 MB"
    decode_image(content, 32, CAP, max_bytes=110_000_000)


def test_a_reduced_jpeg_needs_less() -> None:
    content = jpeg(flat())
    decode_image(content, 100, CAP, max_bytes=20_000_000)
    with pytest.raises(ImageError, match=r"^4000x3000 JPEG needs about \d+ MB to decode"):
        decode_image(content, 1500, CAP, max_bytes=20_000_000)


@pytest.mark.filterwarnings("ignore")  # of what a decoder thinks of EXIF
def test_asking_for_the_memory_changes_no_pixel() -> None:
    used = {name: case for name, case in pictures().items() if case.pixels is not None}
    for name, case in used.items():
        plain = decode_image(case.content, 64, CAP)
        asked = decode_image(case.content, 64, CAP, max_bytes=10**9)
        np.testing.assert_array_equal(asked, plain, err_msg=name)
