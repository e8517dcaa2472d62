"""Decoding: every kind of picture becomes the same square of RGB pixels."""

from __future__ import annotations

import io
import pickle
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from corpus import UPRIGHT, encode, heic
from PIL import Image, UnidentifiedImageError

from pawprint.pictures import deep_pixels
from pawprint.pictures.images import decode_image, largest_value
from pawprint.runner.errors import ImageError, ImageFault

# covers: R5, B5

CAP = 100_000_000
RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


def quarters(size: int = 32) -> np.ndarray:
    """Top left red, top right green, bottom left blue, bottom right grey."""
    half = size // 2
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:half, :half], pixels[:half, half:] = RED, GREEN
    pixels[half:, :half], pixels[half:, half:] = BLUE, GREY
    return pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def test_pixels_of_the_asked_size_are_unchanged() -> None:
    pixels = quarters()
    decoded = decode_image(encode(Image.fromarray(pixels)), 32, CAP)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (32, 32, 3)
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters()
    content = encode(Image.fromarray(stored), format_, exif=exif, **LOSSLESS[format_])
    difference = decode_image(content, 32, CAP).astype(int) - UPRIGHT[orientation](stored)
    assert np.abs(difference).max() <= (0 if format_ == "PNG" else 4)


LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}}


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.full((32, 32), 25_700, np.uint16)  # 25,700 / 65,535 · 255 = 100
    values[:16] = 257  # 1
    decoded = decode_image(encode(Image.fromarray(values)), 32, CAP)
    assert np.unique(decoded[:16]).tolist() == [1]
    assert np.unique(decoded[16:]).tolist() == [100]


def test_a_dark_16_bit_picture_stays_dark() -> None:
    values = np.full((32, 32), 200, np.uint16)  # 200 / 65,535 · 255 = 0.8
    assert np.unique(decode_image(encode(Image.fromarray(values)), 32, CAP)).tolist() == [1]


@pytest.mark.parametrize("mode", ["I;16", "I", "LA", "P"])
def test_pictures_converted_band_by_band_are_those_converted_as_a_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 65_536, (100, 70)).astype(np.uint16)
    image = Image.fromarray(noise)
    options: dict[str, Any] = {}
    if mode == "I":
        image = Image.fromarray(noise.astype(np.int32))
    elif mode != "I;16":
        image = Image.fromarray((noise >> 8).astype(np.uint8)).convert(mode)
        image.putalpha(77) if mode == "LA" else options.update(transparency=5)
    content = encode(image, "TIFF" if mode == "I" else "PNG", **options)
    whole = decode_image(content, 32, CAP)
    monkeypatch.setattr(deep_pixels, "_BAND_PIXELS", 300)
    np.testing.assert_array_equal(decode_image(content, 32, CAP), whole)


def grey_16(value: int) -> np.ndarray:
    return np.full((32, 32), value, np.uint16)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("stored", "max_value", "shown"),
    [
        (4095, 0, 16),  # 4,095 / 65,535 · 255 = 15.9: nearly black
        (4095, 4095, 255),
        (1638, 4095, 102),  # two fifths
        (1023, 1023, 255),
        (5000, 4095, 255),  # brighter than white
        (0, 4095, 0),
        (200, 4095, 12),
    ],
)
def test_the_range_of_16_bits_can_be_given(
    format_: str, stored: int, max_value: int, shown: int
) -> None:
    content = encode(Image.fromarray(grey_16(stored)), format_)
    assert np.unique(decode_image(content, 32, CAP, max_value)).tolist() == [shown]
    assert largest_value(content) == stored


def test_a_given_range_holds_for_32_bits_too_also_where_a_picture_is_dark() -> None:
    for stored, shown in ((200, 12), (4095, 255)):
        content = encode(Image.fromarray(grey_16(stored).astype(np.int32)), "TIFF")
        assert np.unique(decode_image(content, 32, CAP, 4095)).tolist() == [shown]
        assert largest_value(content) == stored


DEEP_FILES = {
    "PNG": (".png", []),
    "TIFF": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE]),
    "LZW": (".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW]),
}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", DEEP_FILES)
def test_the_range_can_be_given_for_colours_of_16_bits_too(
    kind: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written by OpenCV, for Pillow cannot; its channels are in the order blue, green, red."""
    values = np.random.default_rng(0).integers(0, 4096, (32, 32, channels)).astype(np.uint16)
    values[..., 3:] = 4095
    values[0, 0, :3] = 4095
    suffix, options = DEEP_FILES[kind]
    content = cv2.imencode(suffix, values, options)[1].tobytes()
    monkeypatch.setattr(deep_pixels, "_BAND_PIXELS", 100)
    shown = np.floor(values[..., 2::-1] / 4095 * 255 + 0.5)
    np.testing.assert_array_equal(decode_image(content, 32, CAP, 4095), shown)
    assert largest_value(content) == 4095
    if channels == 3:  # without a range as ever: the upper 8 bits
        np.testing.assert_array_equal(decode_image(content, 32, CAP), values[..., ::-1] >> 8)


def deep_tiff(
    values: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    signed: bool = False,
    extra: int | None = None,
    packed: bool = False,
) -> bytes:
    """A TIFF of 16 bits as Pillow does not write it; by hand. Source: TIFF 6.0.

    Args:
        values: [h, w, channels].
        photometric: 0: grey, 0 is white; 1: grey; 2: RGB; 5: CMYK.
        order: of the bytes, ``<`` or ``>``.
        signed: the numbers have a sign.
        extra: what the channel behind the colours is; 0: anything, 1: alpha that they are
            multiplied by, 2: alpha.
        packed: by Deflate, which Pillow leaves to libtiff.
    """
    height, width, channels = values.shape
    pixels = values.astype(f"{order}{'i' if signed else 'u'}{values.dtype.itemsize}").tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    bits = [8 * values.dtype.itemsize] * channels
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: bits, 259: [8 if packed else 1], 262: [photometric],
        273: [0], 277: [channels], 278: [height], 279: [len(pixels)],
        **({} if extra is None else {338: [extra]}), 339: [2 if signed else 1] * channels,
    }  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    far = sum(4 * len(numbers) for numbers in tags.values() if len(numbers) > 1)
    tags[273] = [behind + far]
    entries, arrays = b"", b""
    for tag, numbers in tags.items():
        place = numbers[0] if len(numbers) == 1 else behind + len(arrays)
        entries += struct.pack(f"{order}HHII", tag, 4, len(numbers), place)
        arrays += struct.pack(f"{order}{len(numbers)}I", *numbers) if len(numbers) > 1 else b""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = struct.pack(f"{order}IH", 8, len(tags))
    return mark + head + entries + bytes(4) + arrays + pixels


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of grey with alpha, 16 bits each, [h, w, 2]."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def twelve_bits(channels: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 4096, (32, 32, channels)).astype(np.uint16)
    values[0, 0, 0] = 4095
    return values


def in_8_bits(values: np.ndarray) -> np.ndarray:
    return np.floor(values / 4095 * 255 + 0.5).astype(np.uint8)


TIFF_FORMS = [("<", False), (">", False), ("<", True), (">", True)]


def test_grey_with_alpha_of_16_bits_has_its_range_too(monkeypatch: pytest.MonkeyPatch) -> None:
    values = twelve_bits(2)
    monkeypatch.setattr(deep_pixels, "_BAND_PIXELS", 100)
    content = deep_png(values)
    assert largest_value(content) == 4095
    grey, alpha = np.moveaxis(in_8_bits(values).astype(int), 2, 0)
    shown = decode_image(content, 32, CAP, 4095)[..., 0]
    assert np.abs(shown - (grey * alpha + 255 * (255 - alpha)) / 255).max() <= 1
    dark = decode_image(content, 32, CAP)[..., 0]  # nearly transparent: nearly white
    assert dark.min() >= 239
    values[..., 0], values[..., 1] = 900, 4095
    assert largest_value(deep_png(values)) == 900  # of the grey, not of the alpha


@pytest.mark.parametrize(("order", "packed"), TIFF_FORMS)
def test_inks_of_16_bits_have_their_range_too(order: str, packed: bool) -> None:
    values = twelve_bits(4)
    content = deep_tiff(values, 5, order=order, packed=packed)
    inks = Image.frombytes("CMYK", (32, 32), in_8_bits(values).tobytes())
    shown = np.asarray(inks.convert("RGB"))
    np.testing.assert_array_equal(decode_image(content, 32, CAP, 4095), shown)
    assert largest_value(content) == 4095
    assert decode_image(content, 32, CAP).min() >= 224  # hardly any ink
    values[..., :3] = 0
    assert largest_value(deep_tiff(values, 5)) == values[..., 3].max()  # black is an ink, no alpha


@pytest.mark.parametrize(("order", "packed"), TIFF_FORMS)
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_a_fourth_channel_of_16_bits_is_what_the_file_says(
    extra: int, order: str, packed: bool
) -> None:
    values = twelve_bits(4)
    values[..., 3] = values[..., :3].max(axis=2)  # alpha, where it is one
    content = deep_tiff(values, 2, order=order, packed=packed, extra=extra)
    assert largest_value(content) == 4095
    rgb, alpha = np.split(in_8_bits(values).astype(int), [3], axis=2)
    over_white = rgb + 255 - alpha if extra == 1 else (rgb * alpha + 255 * (255 - alpha)) / 255
    expected = rgb if extra == 0 else over_white
    assert np.abs(decode_image(content, 32, CAP, 4095) - expected).max() <= 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_tiff_in_which_0_is_white_is_no_negative(packed: bool) -> None:
    values = twelve_bits(1)
    content = deep_tiff(values, 0, packed=packed)
    shown = decode_image(content, 32, CAP, 4095)
    np.testing.assert_array_equal(shown, 255 - np.repeat(in_8_bits(values), 3, axis=2))
    assert largest_value(content) == 4095
    assert decode_image(content, 32, CAP).min() == 255 - 16
    plain = decode_image(deep_tiff(values, 1, packed=packed), 32, CAP, 4095)
    np.testing.assert_array_equal(plain, 255 - shown)
    eight = deep_tiff(in_8_bits(values), 0, packed=packed)  # as Pillow reads it
    np.testing.assert_array_equal(decode_image(eight, 32, CAP), shown)
    with pytest.raises(ImageError, match="sort that is not read: convert it elsewhere"):
        decode_image(deep_tiff(values, 0, order=">"), 32, CAP)


@pytest.mark.parametrize(("order", "packed"), TIFF_FORMS[:3])
def test_signed_numbers_are_read_where_none_is_below_0(order: str, packed: bool) -> None:
    values = twelve_bits(1)
    content = deep_tiff(values, 1, order=order, signed=True, packed=packed)
    shown = np.repeat(in_8_bits(values), 3, axis=2)
    np.testing.assert_array_equal(decode_image(content, 32, CAP, 4095), shown)
    assert largest_value(content) == 4095
    assert decode_image(content, 32, CAP).max() == 32  # 4,095 / 32,767 · 255 = 31.9
    low = deep_tiff(values % 200, 1, order=order, signed=True, packed=packed)
    assert decode_image(low, 32, CAP).max() == 2  # dark, also where 8 bits would do


@pytest.mark.parametrize("max_value", [0, 4095])
@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (np.int16, {}, "^signed numbers down to -7, whose range is unknown; convert it to 16 bits"),
        (np.int32, {}, "^signed numbers down to -7, whose range is unknown; convert it to 16 bits"),
        (np.int8, {}, "^a TIFF of signed numbers of 8 bits, whose range is unknown; convert it"),
        (
            np.int16,
            {"order": ">", "packed": True},
            "^a TIFF of signed numbers that is compressed, its upper bytes first; convert it to",
        ),
    ],
)
def test_other_signed_numbers_are_refused(
    kind: type, options: dict[str, Any], reason: str, max_value: int
) -> None:
    values: np.ndarray = np.full((32, 32, 1), 100, kind)
    values[3, 3] = -7
    with pytest.raises(ImageError, match=reason) as caught:
        decode_image(deep_tiff(values, 1, signed=True, **options), 32, CAP, max_value)
    assert "\n" not in str(caught.value)


def test_a_dark_netpbm_of_16_bits_stays_dark() -> None:
    content = b"P5 32 32 65535\n" + (200).to_bytes(2, "big") * 32 * 32
    assert decode_image(content, 32, CAP).max() == 1


def says_its_range() -> dict[str, bytes]:
    """Pictures at half of their range."""
    grey = Image.new("L", (32, 32), 128)
    ten_of_16 = Image.fromarray(grey_16(128 * 257))
    netpbm = b"P5 32 32 4095\n" + (2048).to_bytes(2, "big") * 32 * 32
    return {
        "8 bits": encode(grey),
        "RGB": encode(grey.convert("RGB"), "TIFF"),
        "Netpbm": netpbm,
        "HEIC of 10 bits": heic(ten_of_16),
        "TIFF of 12 bits": tiff_12(2048),
    }


def tiff_12(value: int) -> bytes:
    """32x32 pixels of 12 bits each, packed; by hand, for Pillow does not write it."""
    pixels = b"".join([(value << 12 | value).to_bytes(3, "big")] * (32 * 32 // 2))
    tags = {256: 32, 257: 32, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 32, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize("kind", says_its_range())
def test_a_given_range_leaves_pictures_alone_that_say_their_own(kind: str) -> None:
    content = says_its_range()[kind]
    decoded = decode_image(content, 32, CAP, 1023)
    assert np.abs(decoded.astype(int) - 128).max() <= 2
    np.testing.assert_array_equal(decoded, decode_image(content, 32, CAP))
    assert largest_value(content) is None


def test_a_heic_without_its_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"^a HEIC; install pi-heif to read it$") as caught:
        decode_image(heic(Image.fromarray(quarters())), 32, CAP)
    assert caught.value.fault is ImageFault.FORMAT


def test_reading_a_heic_leaves_pillow_as_it_was() -> None:
    content = heic(Image.fromarray(quarters()))
    decode_image(content, 32, CAP)
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(content))


def test_importing_does_not_load_the_decoder_of_heic() -> None:
    code = "import sys, pawprint.pictures.images; assert 'pi_heif' not in sys.modules"
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root})
    assert done.returncode == 0


def test_the_pixel_cap_of_a_heic_is_read_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    import pi_heif

    def load(self: object) -> None:
        raise AssertionError("decoded")

    content = heic(Image.new("RGB", (300, 200)))
    monkeypatch.setattr(pi_heif.HeifImageFile, "load", load)
    with pytest.raises(ImageError, match=r"^300x200 pixels, more than 59999$"):
        decode_image(content, 32, 59_999)


@pytest.mark.parametrize(
    ("metadata", "text"), [({"exif": Image.Exif().tobytes()}, b"Exif"), ({"xmp": b"<x/>"}, b"xml")]
)
def test_a_heic_whose_metadata_have_a_type_that_is_no_text_is_refused(
    metadata: dict[str, bytes], text: bytes
) -> None:
    content = heic(Image.new("RGB", (64, 64)), **metadata)
    decode_image(content, 32, CAP)
    damaged = content.replace(text, text[:-1] + b"\xff", 1)
    assert damaged != content
    with pytest.raises(ImageError, match=r"^a HEIC or AVIF with an item whose type is no text$"):
        decode_image(damaged, 32, CAP)


def test_who_sets_the_limit_of_pixels_names_it() -> None:
    for content in (png_header(16_000, 10_000), png_header(60_000, 60_000)):
        with pytest.raises(ImageError) as caught:
            decode_image(content, 32, CAP)
        error = pickle.loads(pickle.dumps(caught.value))  # as from a process of its own
        assert error.fault is ImageFault.PIXELS
        reason = error.reason("preprocess.max_pixels")
        assert re.fullmatch(r"\d+(x\d+)? pixels, more than preprocess.max_pixels = \d+", reason)


def test_transparent_places_of_a_palette_are_white() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 32, 16))
    decoded = decode_image(encode(image, transparency=0), 32, CAP)
    assert np.unique(decoded[:16].reshape(-1, 3), axis=0).tolist() == [[0, 0, 255]]
    assert np.unique(decoded[16:]).tolist() == [255]


def test_half_transparent_pixels_are_laid_over_white() -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 51))  # a fifth red, four fifths white
    assert decode_image(encode(image), 32, CAP)[0, 0].tolist() == [255, 204, 204]


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.new("LA", (32, 32), (0, 51))
    assert decode_image(encode(image), 32, CAP)[0, 0].tolist() == [204, 204, 204]


@pytest.mark.parametrize(
    ("ink", "rgb"),
    [((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0))],
)
def test_cmyk_jpeg_becomes_rgb(ink: tuple[int, ...], rgb: tuple[int, ...]) -> None:
    content = encode(Image.new("CMYK", (32, 32), ink), "JPEG", quality=95)
    np.testing.assert_allclose(decode_image(content, 32, CAP)[5, 5], rgb, atol=4)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_black_and_white_have_three_equal_channels(mode: str) -> None:
    decoded = decode_image(encode(Image.new(mode, (40, 40), 255)), 32, CAP)
    assert decoded.shape == (32, 32, 3)
    assert np.unique(decoded).tolist() == [255]


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_counts(format_: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if format_ == "WEBP" else {}
    content = encode(
        frames[0], format_, save_all=True, append_images=frames[1:], duration=100, **options
    )
    assert np.unique(decode_image(content, 32, CAP).reshape(-1, 3), axis=0).tolist() == [[*RED]]


@pytest.mark.parametrize(
    "format_", ["JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"]
)
def test_every_format_is_told_by_its_content(format_: str) -> None:
    content = encode(Image.new("RGB", (48, 48), (200, 30, 90)), format_)
    np.testing.assert_allclose(decode_image(content, 32, CAP)[16, 16], (200, 30, 90), atol=6)


def test_a_downscaled_picture_is_averaged_not_sampled() -> None:
    checks = np.indices((128, 128)).sum(0) % 2 * 255  # black and white, pixel by pixel
    decoded = decode_image(encode(Image.fromarray(checks.astype(np.uint8))), 32, CAP)
    assert np.abs(decoded.astype(int) - 128).max() <= 2


def test_a_large_jpeg_is_the_same_picture_as_its_png() -> None:
    """The decoder may halve a JPEG while it reads it."""
    x = np.linspace(0, 255, 1024)
    pixels = np.stack(np.broadcast_arrays(x, x[:, None], 128.0), -1).astype(np.uint8)
    image = Image.fromarray(pixels)
    jpeg = decode_image(encode(image, "JPEG", quality=95), 32, CAP).astype(int)
    assert np.abs(jpeg - decode_image(encode(image), 32, CAP)).max() <= 4


def test_one_pixel_fills_the_square() -> None:
    decoded = decode_image(encode(Image.new("RGB", (1, 1), (9, 8, 7))), 32, CAP)
    assert np.unique(decoded.reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000)])
def test_a_very_long_picture_keeps_both_of_its_ends(size: tuple[int, int]) -> None:
    values = np.zeros(10_000, np.uint8)
    values[5_000:] = 255
    decoded = decode_image(encode(Image.fromarray(values.reshape(size[::-1]))), 32, CAP)
    along = decoded[16] if size[0] > 1 else decoded[:, 16]
    assert along[[0, 10], 0].tolist() == [0, 0]
    assert along[[21, 31], 0].tolist() == [255, 255]


def test_a_film_behind_a_jpeg_does_not_matter() -> None:
    """Telephones append one; by chance it holds more than 100 times what begins a scan."""
    content = encode(Image.fromarray(quarters()), "JPEG", **LOSSLESS["JPEG"])
    film = np.random.default_rng(0).bytes(10_000_000)
    assert film.count(b"\xff\xda") > 100
    np.testing.assert_array_equal(
        decode_image(content + film, 32, CAP), decode_image(content, 32, CAP)
    )


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_jpeg_is_refused(kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    content = encode(Image.fromarray(noise), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        decode_image(content[: int(len(content) * kept)], 32, CAP)


def test_a_damaged_png_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = bytearray(encode(Image.fromarray(noise)))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(ImageError, match=r"\w"):
        decode_image(bytes(content), 32, CAP)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\x00" * 1000, "not a picture in a known format"),
        (
            b"\xff\xd8\xff",
            "a JPEG whose header is damaged, or of a sort that is not read: convert it elsewhere",
        ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode_image(content, 32, CAP)


def test_floating_point_pixels_are_refused() -> None:
    content = encode(Image.fromarray(np.full((32, 32), 0.5, np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point pixels"):
        decode_image(content, 32, CAP)


def test_the_pixel_cap_is_read_from_the_header() -> None:
    """The file holds no pixels at all: had they been asked for, the reason would be another."""
    with pytest.raises(ImageError, match=r"^16000x10000 pixels, more than 100000000$"):
        decode_image(png_header(16_000, 10_000), 32, CAP)


def test_the_pixel_cap_is_inclusive_and_may_exceed_that_of_pillow() -> None:
    content = encode(Image.new("L", (100, 100), 7))
    assert decode_image(content, 32, 10_000)[0, 0].tolist() == [7, 7, 7]
    with pytest.raises(ImageError, match=r"^100x100 pixels, more than 9999$"):
        decode_image(content, 32, 9_999)


def test_reasons_are_the_same_in_every_run() -> None:
    """They stand in a file that is tracked by its hash: no memory address may be in them."""
    garbage = [b"GIF89a" + bytes(20), png_header(8, 8), b"BM" + bytes(60), b"P6 9 9 255 "]
    for content in garbage:
        reasons = set()
        for _ in range(2):
            with pytest.raises(ImageError) as caught:
                decode_image(content, 32, CAP)
            reasons.add(str(caught.value))
        assert len(reasons) == 1
        assert "0x" not in reasons.pop()


def test_integers_of_more_than_16_bits_are_refused() -> None:
    content = encode(Image.fromarray(np.full((32, 32), 2_000_000, np.int32)), "TIFF")
    with pytest.raises(ImageError, match="32-bit integers up to 2000000, whose range is unknown"):
        decode_image(content, 32, CAP)


def planar_tiff(pixels: np.ndarray) -> bytes:
    """An uncompressed TIFF of 16 bits, red first, then green, then blue. Source: TIFF 6.0."""
    height, width, _ = pixels.shape
    planes = pixels.astype("<u2").transpose(2, 0, 1).tobytes()
    plane = 2 * width * height
    extra = 8 + 2 + 10 * 12 + 4  # behind the header and the directory: what is longer than 4 bytes
    bits, starts, counts = extra, extra + 6, extra + 18
    data = extra + 30
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 3, starts), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, 3, counts), (284, 3, 1, 2),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    arrays = struct.pack("<3H", 16, 16, 16)
    arrays += struct.pack("<3I", *(data + plane * i for i in range(3)))
    arrays += struct.pack("<3I", plane, plane, plane)
    return b"II*\0" + struct.pack("<I", 8) + directory + arrays + planes


def test_planes_of_16_bits_are_refused_and_not_read_as_noise() -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32)
    content = planar_tiff(np.stack([ramp] * 3, axis=-1))
    with Image.open(io.BytesIO(content)) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")  # Pillow would read it
    with pytest.raises(ImageError, match="stores its colours plane by plane"):
        decode_image(content, 32, CAP)
