"""What costs too much is refused by its headers, and pictures as the world has them are not."""
# covers: B5, R13

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from corpus import chunk, encode, heic, jpeg, pictures
from costly import (
    bmp,
    costly,
    exif,
    noise,
    png_with,
    segment,
    stating,
    with_header,
    with_scans,
)
from costly_tiff import stripped, tiff, tiled
from PIL import Image, PngImagePlugin

from pawprint.pictures.images import decode_image, open_image
from pawprint.pictures.structure import check_structure
from pawprint.runner.errors import ImageError, ImageFault

CAP = 100_000_000
COSTLY = costly()


@pytest.mark.parametrize("name", COSTLY)
def test_each_costly_file_is_refused_wherever_it_is_opened(name: str) -> None:
    case = COSTLY[name]
    ways: list[Callable[[bytes], object]] = [
        lambda content: decode_image(content, 32, CAP),
        lambda content: open_image(content, CAP),
    ]
    for way in ways:
        with pytest.raises(ImageError, match=f"^costs too much to decode: {case.reason}") as caught:
            way(case.content)
        assert caught.value.fault is ImageFault.COSTLY
        assert len(str(caught.value)) < 150


def test_a_file_larger_than_its_pixels_could_need_is_refused() -> None:
    content = encode(Image.new("L", (10, 10)))
    most = 8 * 100 + 2**24
    decode_image(content + bytes(most - len(content)), 32, 100)
    with pytest.raises(
        ImageError, match=r"^a file of 16,778,017 bytes, more than the 16,778,016 "
    ) as caught:
        decode_image(content + bytes(most + 1 - len(content)), 32, 100)
    assert caught.value.fault is ImageFault.COSTLY


# What is allowed


def real_pictures() -> Iterator[tuple[str, bytes]]:
    """What cameras, scanners and programs write."""
    yield from (
        (name, case.content) for name, case in pictures().items() if case.pixels is not None
    )
    photo = Image.fromarray(np.asarray(noise(60, 80)).repeat(4, 0).repeat(4, 1))
    yield from _with_metadata(photo)
    yield from _jpegs(photo)
    yield from _tiffs(photo)
    yield from _animations(photo)


def _with_metadata(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    profile, xmp = os.urandom(900_000), b"<x:xmpmeta>" + b" " * 60_000
    small, large = Image.Exif(), Image.Exif()
    for tags, size in ((small, 50_000), (large, 3_000_000)):
        tags[0x0112] = 6
        tags.get_ifd(0x8769)[0x927C] = bytes(size)  # what the maker notes
    yield (
        "metadata.jpg",
        jpeg(photo, exif=small, icc_profile=profile, xmp=xmp, comment=b"c" * 60_000),
    )
    yield "metadata.webp", encode(photo, "WEBP", exif=large, icc_profile=profile, xmp=xmp)
    yield "metadata.avif", encode(photo, "AVIF", exif=large, icc_profile=profile, xmp=xmp)
    yield "metadata.heic", heic(photo, exif=large.tobytes(), xmp=xmp, thumbnails=[64, 128])
    yield "metadata.tif", encode(photo, "TIFF", exif=small, icc_profile=profile)
    texts = PngImagePlugin.PngInfo()
    for number in range(60):
        texts.add_text(f"key {number}", "x" * 10_000, zip=number % 2 == 0)
    texts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>" + " " * 900_000, zip=True)
    yield "metadata.png", encode(photo, "PNG", pnginfo=texts, exif=large, icc_profile=profile)
    yield "comment.gif", encode(photo, "GIF", comment=b"c" * 200_000)


def _jpegs(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    for progressive, quality, optimize in itertools.product((0, 1), (5, 100), (0, 1)):
        options = {"progressive": progressive, "quality": quality, "optimize": optimize}
        yield f"{options}.jpg", jpeg(photo, restart_marker_rows=1, **options)
    yield "telephone of 48 megapixels.jpg", jpeg(Image.new("RGB", (8064, 6048)), quality=90)
    yield "progressive, of 20 megapixels.jpg", jpeg(Image.new("L", (5000, 4000)), progressive=True)
    yield "twenty pictures.mpo", encode(photo, "MPO", save_all=True, append_images=[photo] * 19)
    depth = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)) * 200
    yield "depth of 13 MB in XMP.jpg", with_header(depth)


def _tiffs(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    for compression, rows in itertools.product((None, "tiff_lzw", "jpeg", "zstd"), (8, 2**32 - 1)):
        options: dict[str, Any] = {"compression": compression, "tiffinfo": {278: rows}}
        yield f"{compression}, strips of {rows}.tif", encode(photo, "TIFF", **options)
    tall = Image.new("L", (10, 60_000))
    yield "strips of a row.tif", encode(tall, "TIFF", compression="tiff_lzw", tiffinfo={278: 1})
    yield "BigTIFF.tif", encode(photo, "TIFF", big_tiff=True)
    for side, order in itertools.product((16, 256, 1024, 4096), "<>"):
        data = zlib.compress(bytes(side * side * 3))
        yield f"tile of {side} {order}.tif", tiff(tiled(9, 9, side, 1, len(data)), data, order)
    grey = zlib.compress(bytes(64))
    yield "long strip.tif", tiff(stripped(64, 64, 1, len(grey), colours=1), grey)


def _animations(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    frames = [photo.rotate(angle) for angle in range(0, 360, 30)]
    for format_, options in (("GIF", {}), ("PNG", {}), ("TIFF", {}), ("AVIF", {"speed": 10})):
        content = encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        yield f"12 frames.{format_.lower()}", content
    yield "12 frames.webp", encode(photo, "WEBP", save_all=True, append_images=frames, method=0)


def fault_of(check: Callable[..., object], *arguments: object) -> ImageFault | None:
    try:
        check(*arguments)
    except ImageError as error:
        return error.fault
    return None


@pytest.mark.filterwarnings("ignore")  # of what a decoder thinks of EXIF
def test_real_pictures_are_not_refused() -> None:
    names = []
    for name, content in real_pictures():
        with open_image(content, CAP) as image:
            pixels = image.width * image.height
        check_structure(content, pixels)  # no more are allowed than it has
        decode_image(content, 32, pixels)
        names.append(name)
    assert len(names) > 80
    assert len(names) == len(set(names))


ALLOWED = {
    "segments": with_header(segment(0xE5) * 1000),
    "EXIF in pieces": with_header(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 25),
    "scans": with_scans(jpeg(progressive=True), 90),
    "bytes between segments": with_header(segment(0xE5) + bytes(2**20 - 1000)),
    "chunks without pixels": png_with(chunk(b"prVt", b"") * 4000),
    "chunks of pixels": png_with(chunk(b"IDAT", b"") * 99_000),
    "compressed chunks": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 60),
    "tags of EXIF": png_with(chunk(b"eXIf", exif(1000))),
    "a high picture": encode(Image.new("L", (1, 1_000_000))),
    "run lengths": bmp(2000, 2000, 1, b"\xff\7" * 7 + b"\xd7\7" + b"\0\0\0\1"),
    "tiles": tiff(tiled(300, 300, 1, 90_000), bytes(9)),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_nearly_as_much_as_is_allowed_is_not_refused(name: str) -> None:
    """The coded data of some are made up."""
    fault = fault_of(decode_image, ALLOWED[name], 32, CAP)
    assert fault in (None, ImageFault.DAMAGED, ImageFault.TRUNCATED)


def test_scans_are_bounded_by_the_pixels_that_a_picture_may_have() -> None:
    content = with_scans(stating(jpeg(Image.new("L", (9, 9)), progressive=True), 1000, 1000), 30)
    check_structure(content, 2_000_000)
    with pytest.raises(ImageError, match=r"more than 20 scans$"):
        check_structure(content, 1_000_000)


def test_more_pixels_than_are_allowed_stay_the_reason() -> None:
    for content in (
        jpeg(Image.new("L", (300, 200)), progressive=True),
        encode(Image.new("L", (300, 200)), "AVIF"),
        heic(Image.new("L", (300, 200))),
        tiff(tiled(300, 200, 16, 999)),
    ):
        with pytest.raises(ImageError, match=r"^300x200 pixels, more than 59999$") as caught:
            decode_image(content, 32, 59_999)
        assert caught.value.fault is ImageFault.PIXELS


@pytest.mark.parametrize("name", ["comments.p6", *(n for n in COSTLY if n.endswith(".heic"))])
def test_a_file_that_ends_early_is_not_the_matter_of_headers(name: str) -> None:
    """Whatever is left of a file, nothing but an ImageError is raised."""
    content = COSTLY[name].content
    ends = [*range(0, min(len(content), 900), 7), len(content) - 1]
    faults = {fault_of(check_structure, content[:end], CAP) for end in ends}
    assert faults <= {None, ImageFault.COSTLY}


def test_random_headers_raise_nothing_else() -> None:
    draw = np.random.default_rng(0)
    heads = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBP", b"BM", b"P6 "]
    heads += [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"]
    heads += [encode(Image.new("L", (64, 64)), "AVIF")[:200], heic(Image.new("L", (64, 64)))[:300]]
    faults = set()
    for head, sparse in itertools.product(heads, [False] * 60 + [True] * 60):
        rest = np.frombuffer(draw.bytes(400), np.uint8) * (draw.random(400) < 0.2 if sparse else 1)
        content = head + rest.astype(np.uint8).tobytes()
        faults.add(fault_of(check_structure, content, CAP))
    assert faults <= {None, ImageFault.COSTLY, ImageFault.FORMAT}


def test_a_big_endian_bigtiff_is_refused_and_not_misread() -> None:
    content = tiff(tiled(9, 9, 16, 1), bytes(9), ">", is_big=True)
    with pytest.raises(
        ImageError, match=r"^a BigTIFF in big-endian order, which is misread"
    ) as caught:
        decode_image(content, 32, CAP)
    assert caught.value.fault is ImageFault.FORMAT
