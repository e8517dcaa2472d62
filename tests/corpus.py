"""Pictures as the world has them: whole and damaged, drawn here and known pixel by pixel.

`pictures()` names them all. A picture that must be used has its pixels; one that must be set aside
has the reason; one whose damage no decoder can notice has neither.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

SIDE = 64
UNKNOWN_FORMAT = "^not a picture in a known format$"
DAMAGED_HEADER = "^a JPEG whose header is damaged|^a PNG whose header is damaged"
TRUNCATED = "truncated|Truncated"
BOMB = "pixels.* exceeds limit|pixels, more than"
ANYTHING = r"\w"


@dataclass(frozen=True)
class Case:
    """A file, and what becomes of it.

    Attributes:
        content: its bytes.
        pixels: uint8 [64, 64, 3] that decoding must give; None: it is not used.
        tolerance: largest difference of a value in 0...255.
        reason: pattern of the reason why it is set aside; empty: it is used.
    """

    content: bytes
    pixels: np.ndarray | None = None
    tolerance: int = 0
    reason: str = ""


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def scene() -> np.ndarray:
    """Smooth, in colours that differ in every corner: uint8 [64, 64, 3]."""
    x = np.linspace(20, 235, SIDE)
    return np.stack(np.broadcast_arrays(x, x[:, None], (x + x[::-1, None]) / 2), -1).astype(
        np.uint8
    )


def noise() -> np.ndarray:
    """What hardly compresses: uint8 [64, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(pixels: np.ndarray, depth: int, color_type: int, *extra: bytes) -> bytes:
    """A PNG of rows of bytes [h, bytes], written by hand for what Pillow does not write."""
    width = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    size = rows.shape[1] * 8 // (depth * width)
    header = struct.pack(">IIBBBBB", size, len(rows), depth, color_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    image = image or Image.fromarray(scene())
    return encode(image, "JPEG", **{"quality": 95, "subsampling": 0} | options)


def scan_start(content: bytes) -> int:
    return content.index(b"\xff\xda") + 14


def replaced(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def pictures() -> dict[str, Case]:
    """name → case; names tell the suffix."""
    families = [
        *(whole_jpegs, oriented, whole_pngs, other_formats, heics, odd_sizes),
        *(cut_jpegs, flipped_jpegs, cut_others, bombs, no_pictures),
    ]
    cases: dict[str, Case] = {}
    for family in families:
        for name, case in family():
            assert name not in cases
            cases[name] = case
    return cases


# Used


def whole_jpegs() -> Iterator[tuple[str, Case]]:
    pixels, image = scene(), Image.fromarray(scene())
    grey = image.convert("L")
    yield "baseline.jpg", Case(jpeg(), pixels, 4)
    yield "progressive.jpg", Case(jpeg(progressive=True), pixels, 4)
    yield "restarts.jpg", Case(jpeg(restart_marker_blocks=3), pixels, 4)
    yield "grey.jpg", Case(jpeg(grey), np.stack([np.asarray(grey)] * 3, -1), 4)
    yield "grey corner.jpg", Case(jpeg(Image.new("RGB", (64, 64), "#808080")), flat(128), 1)
    yield "cmyk.jpg", Case(jpeg(image.convert("CMYK")), pixels, 6)
    yield "ycck.jpg", Case(ycck(pixels), pixels, 8)
    yield "garbage after its end.jpg", Case(jpeg() + noise().tobytes(), pixels, 4)
    yield "scans after its end.jpg", Case(jpeg() + b"\xff\xda\0\1" * 150, pixels, 4)
    yield "thumbnail.jpg", Case(jpeg(exif=exif_with_thumbnail()), pixels, 4)
    yield "damaged exif.jpg", Case(jpeg(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), pixels, 4)
    yield "foreign profile.jpg", Case(jpeg(icc_profile=swapping_profile()), pixels, 4)
    yield "stereo.mpo", Case(mpo(), pixels, 6)
    for name, text in (("arithmetic", ARITHMETIC), ("arithmetic progressive", PROGRESSIVE)):
        yield f"{name}.jpg", Case(base64.b64decode(text), four_quarters(), 2)


def flat(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def ycck(pixels: np.ndarray) -> bytes:
    """Adobe's CMYK whose inks are stored as luminance and two chromas (APP14, transform 2)."""
    inks = np.asarray(Image.fromarray(255 - pixels).convert("YCbCr"))
    stored = np.concatenate([inks, np.full((SIDE, SIDE, 1), 255, np.uint8)], -1)
    content = jpeg(Image.fromarray(255 - stored, "CMYK"))  # Pillow stores the inverse
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    return replaced(content, transform, b"\2")


def exif_with_thumbnail() -> bytes:
    """A small JPEG within the header, which ends before the picture begins."""
    thumbnail = encode(Image.new("RGB", (16, 16), "red"), "JPEG")
    ifd = struct.pack("<HI", 0, 14)  # no entries; the thumbnail's directory is at 14
    ifd1 = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + ifd + ifd1 + thumbnail


def swapping_profile() -> bytes:
    """An ICC profile with Adobe RGB's primaries in another order: applied, colours would swap."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def mpo() -> bytes:
    others = [Image.new("RGB", (SIDE, SIDE), "red")]
    return encode(Image.fromarray(scene()), "MPO", save_all=True, append_images=others, quality=95)


# 16x16 pixels in four quarters, by libjpeg's cjpeg with -arithmetic, and with -progressive too
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwIC"
    "AwQDAwQEBAQEAgMFBQQEBQQEBAT/2wBDAQEBAQEBAQIBAQIEAwIDBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    "BAQEBAQEBAQEBAQEBAQEBAQEBAT/yQARCAAQABADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AOzC"
    "rKOlw3HFgttVt0kX0mZ6DXkLn8XEg//Z"
)
PROGRESSIVE = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwIC"
    "AwQDAwQEBAQEAgMFBQQEBQQEBAT/2wBDAQEBAQEBAQIBAQIEAwIDBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    "BAQEBAQEBAQEBAQEBAQEBAQEBAT/ygARCAAQABADAREAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8A2YVBELXp"
    "MH1pwW9ZZrgFlFFMsBvJ/v/MAAQQBf/aAAgBAQABBQLA/8wABBEF/9oACAEDAQE/AcD/zAAEEQX/2gAIAQIBAT8BwP/M"
    "AAQQBf/aAAgBAQAGPwLA/8wABBAF/9oACAEBAAE/IcD/2gAMAwEAAgADAAAAEEvQ/8wABBEF/9oACAEDAQE/EMD/zAAE"
    "EQX/2gAIAQIBAT8QwP/MAAQQBf/aAAgBAQABPxDA/9k="
)


def four_quarters() -> np.ndarray:
    """What the two above show, enlarged as `decode_image` enlarges: bilinear."""
    small = np.empty((16, 16, 3), np.uint8)
    small[:8, :8], small[:8, 8:] = (200, 40, 40), (40, 180, 60)
    small[8:, :8], small[8:, 8:] = (50, 60, 190), (220, 210, 90)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


# What stands in the file → what a viewer shows. Source: EXIF 2.32, tag 0x0112.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),  # a quarter turn clockwise
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def oriented() -> Iterator[tuple[str, Case]]:
    for orientation, upright in UPRIGHT.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"orientation {orientation}.jpg", Case(jpeg(exif=exif), upright(scene()), 4)


def whole_pngs() -> Iterator[tuple[str, Case]]:
    pixels, image = scene(), Image.fromarray(scene())
    grey = np.asarray(image.convert("L"))
    bits = grey > 128
    alpha = np.broadcast_to(np.linspace(0, 255, SIDE).astype(np.uint8)[:, None], (SIDE, SIDE))
    plain = encode(image)

    def over_white(values: np.ndarray) -> np.ndarray:
        share = alpha[..., None] / 255
        return (values * share + 255 * (1 - share)).round().astype(np.uint8)

    three = np.stack([grey] * 3, -1)
    yield "rgb.png", Case(plain, pixels)
    yield "rgb.jpg", Case(plain, pixels)  # the name is wrong, and does not matter
    yield (
        "16 bits grey.png",
        Case(png((grey * np.uint16(257)).astype(">u2").view("u1"), 16, 0), three),
    )
    wide = (pixels * np.uint16(257)).astype(">u2").view("u1")
    yield "16 bits rgb.png", Case(png(wide, 16, 2), pixels)
    yield (
        "1 bit.png",
        Case(png(np.packbits(bits, 1), 1, 0), np.stack([bits * np.uint8(255)] * 3, -1)),
    )
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    holes = chunk(b"tRNS", bytes([0, 255]))
    painted = np.where(bits[..., None], (0, 0, 255), (255, 255, 255)).astype(np.uint8)
    yield "palette with holes.png", Case(png(np.packbits(bits, 1), 1, 3, palette, holes), painted)
    layered = np.stack([grey, alpha], -1)
    yield "grey with alpha.png", Case(png(layered, 8, 4), over_white(three), 1)
    layered = np.concatenate([pixels, alpha[..., None]], -1)
    yield "rgba.png", Case(png(layered, 8, 6), over_white(pixels), 1)
    end_of_data = plain.index(b"IEND") - 5
    wrong_sum = replaced(plain, end_of_data, bytes([plain[end_of_data] ^ 1]))
    yield "wrong sum of intact pixels.png", Case(wrong_sum, pixels)
    yield "animation.png", Case(animation("PNG"), pixels)


def animation(format_: str, **options: Any) -> bytes:
    first, *others = (
        Image.fromarray(scene()),
        *(Image.new("RGB", (SIDE, SIDE), c) for c in ("red", "blue")),
    )
    return encode(first, format_, save_all=True, append_images=others, duration=100, **options)


def other_formats() -> Iterator[tuple[str, Case]]:
    pixels, image = scene(), Image.fromarray(scene())
    few = image.quantize(32)
    yield "animation.gif", Case(few_frames(few), np.asarray(few.convert("RGB")))
    yield "animation.webp", Case(animation("WEBP", lossless=True, quality=100), pixels)
    yield "lossless.webp", Case(encode(image, "WEBP", lossless=True), pixels)
    yield "lossy.webp", Case(encode(image, "WEBP", quality=95), pixels, 12)
    yield "plain.bmp", Case(encode(image, "BMP"), pixels)
    yield "plain.ppm", Case(encode(image, "PPM"), pixels)
    pages = {"save_all": True, "append_images": [Image.new("RGB", (SIDE, SIDE), "red")]}
    yield "pages.tif", Case(encode(image, "TIFF", **pages), pixels)
    yield "lzw.tiff", Case(encode(image, "TIFF", compression="tiff_lzw"), pixels)
    yield (
        "high quality.avif",
        Case(encode(image, "AVIF", quality=95, subsampling="4:4:4"), pixels, 8),
    )


def heic(image: Image.Image, **options: Any) -> bytes:
    """As a telephone writes it; orientation in ``exif`` becomes the file's own rotation."""
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **{"quality": 100, "chroma": 444} | options)
    return file.getvalue()


def heics() -> Iterator[tuple[str, Case]]:
    pixels, image = scene(), Image.fromarray(scene())
    yield "plain.heic", Case(heic(image), pixels, 6)
    yield "telephone as a.jpg", Case(heic(image, chroma=420), pixels, 20)
    grey = image.convert("L")
    three = np.stack([np.asarray(grey)] * 3, -1)
    yield "grey.heic", Case(heic(grey), three, 6)
    for brand in ("mif1", "msf1", "heic"):
        renamed = replaced(heic(image), 8, brand.encode())
        yield f"major brand {brand}.heic", Case(renamed, pixels, 6)
    avif = encode(image, "AVIF", quality=95, subsampling="4:4:4")
    yield "major brand mif1.avif", Case(replaced(avif, 8, b"mif1"), pixels, 8)
    clear = image.copy()
    clear.putalpha(51)  # a fifth of the picture, four fifths white
    fifth = (pixels * 0.2 + 204).round().astype(np.uint8)
    yield "alpha.heic", Case(heic(clear), fifth, 6)
    deep = file_of(pillow_heif.from_bytes("RGB;16", (SIDE, SIDE), wide(pixels)))
    yield "10 bits.heic", Case(deep, pixels, 6)
    grey16 = Image.fromarray(np.asarray(grey) * np.uint16(257))
    yield "10 bits grey.heic", Case(heic(grey16), three, 6)
    album = pillow_heif.from_pillow(Image.new("RGB", (SIDE, SIDE), "red"))
    album.add_from_pillow(image)
    album.add_from_pillow(Image.new("RGB", (32, 32), "blue"))
    yield "second of three.heic", Case(file_of(album, primary_index=1), pixels, 6)
    for orientation, upright in UPRIGHT.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = heic(image, exif=exif.tobytes())
        yield f"orientation {orientation}.heic", Case(content, upright(pixels), 6)


def wide(pixels: np.ndarray) -> bytes:
    return (pixels * np.uint16(257)).tobytes()


def file_of(pictures: pillow_heif.HeifFile, **options: Any) -> bytes:
    file = io.BytesIO()
    pictures.save(file, quality=100, chroma=444, **options)
    return file.getvalue()


def few_frames(first: Image.Image) -> bytes:
    other = Image.new("P", (SIDE, SIDE))
    return encode(first, "GIF", save_all=True, append_images=[other], duration=100)


def odd_sizes() -> Iterator[tuple[str, Case]]:
    dot = Image.new("RGB", (1, 1), (9, 8, 7))
    yield (
        "dot.png",
        Case(encode(dot), np.broadcast_to(np.array([9, 8, 7], np.uint8), (SIDE, SIDE, 3))),
    )
    line = Image.fromarray(np.repeat(np.arange(SIDE, dtype=np.uint8), 10_000 // SIDE)[None])
    column = np.arange(SIDE, dtype=np.uint8)
    drawn = np.broadcast_to(column[None, :, None], (SIDE, SIDE, 3))
    yield "line.png", Case(encode(line), drawn, 1)
    yield "line.jpg", Case(jpeg(line), drawn, 4)
    yield (
        "upright line.png",
        Case(encode(line.transpose(Image.Transpose.ROTATE_270)), drawn.swapaxes(0, 1), 1),
    )


# Set aside


def cut_jpegs() -> Iterator[tuple[str, Case]]:
    baseline, progressive = jpeg(Image.fromarray(noise())), jpeg(progressive=True)
    start = scan_start(baseline)
    places = [2, 50, start - 4, start + 1, *(int(len(baseline) * k / 10) for k in (3, 5, 7, 9))]
    for place in (*places, len(baseline) - 20, len(baseline) - 2):
        reason = f"{TRUNCATED}|{DAMAGED_HEADER}" if place > 2 else UNKNOWN_FORMAT
        yield f"cut at {place}.jpg", Case(baseline[:place], reason=reason)
    middle = (start + len(baseline)) // 2
    yield "progressive, cut.jpg", Case(progressive[: len(progressive) // 2], reason=TRUNCATED)
    for name, content in (("baseline", baseline), ("progressive", progressive)):
        closed = content[: len(content) // 2] + b"\xff\xd9"
        yield f"{name}, cut and closed.jpg", Case(closed, reason=TRUNCATED)
    cmyk = jpeg(Image.fromarray(noise()).convert("CMYK"))
    yield "cmyk, cut and closed.jpg", Case(cmyk[: len(cmyk) // 2] + b"\xff\xd9", reason=TRUNCATED)
    yield "rest is zeros.jpg", Case(baseline[:middle] + bytes(9999), reason=TRUNCATED)
    yield "rest is text.jpg", Case(baseline[:middle] + b"404 " * 9999, reason=TRUNCATED)
    taller = baseline.index(b"\xff\xc0") + 5
    lie = replaced(baseline, taller, struct.pack(">H", 4 * SIDE))
    yield "says that it is taller.jpg", Case(lie, reason=TRUNCATED)


def flipped_jpegs() -> Iterator[tuple[str, Case]]:
    """A flip in a marker is noticed; in the scan it may not be, for JPEG has no checksum."""
    content = jpeg()
    for marker in (b"\xff\xd8", b"\xff\xdb", b"\xff\xc0", b"\xff\xda"):
        at = content.index(marker) + 1
        flipped = replaced(content, at, bytes([content[at] ^ 0x10]))
        yield f"flip in {marker.hex()}.jpg", Case(flipped, reason=ANYTHING)
    at = content.index(b"\xff\xc4") + 1
    film = replaced(content, at, b"\xd4")  # as in a film's frames: the standard's table is meant
    yield "without a code table.jpg", Case(film, scene(), 4)
    for share in (0.2, 0.5, 0.8):
        at = scan_start(content) + int((len(content) - scan_start(content)) * share)
        flipped = replaced(content, at, bytes([content[at] ^ 0x04]))
        yield f"flip at {share} of the scan.jpg", Case(flipped)


def cut_others() -> Iterator[tuple[str, Case]]:
    image = Image.fromarray(noise())
    for format_ in ("PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF"):
        content = encode(image, format_)
        for share in (0.1, 0.5, 0.95):
            short = content[: int(len(content) * share)]
            yield f"cut at {share}.{format_.lower()}", Case(short, reason=ANYTHING)
    for share in (0.1, 0.5, 0.95):
        content = heic(image)
        short = content[: int(len(content) * share)]
        yield (
            f"cut at {share}.heic",
            Case(short, reason="^a HEIC that cannot be decoded: Invalid input: "),
        )
    content = encode(image)
    flipped = replaced(content, len(content) // 2, bytes([content[len(content) // 2] ^ 4]))
    yield "flipped.png", Case(flipped, reason=ANYTHING)
    header_sum = content.index(b"IHDR") + 17
    wrong = replaced(content, header_sum, bytes([content[header_sum] ^ 1]))
    yield "wrong sum of the header.png", Case(wrong, reason=DAMAGED_HEADER)
    start = content[: content.index(b"IDAT") - 4]
    empty = start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    yield "no rows.png", Case(empty, reason=TRUNCATED)


def bombs() -> Iterator[tuple[str, Case]]:
    huge = 60_000
    header = struct.pack(">IIBBBBB", huge, huge, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    yield "bomb.png", Case(start + data + chunk(b"IEND", b""), reason=BOMB)
    content = jpeg()
    size = content.index(b"\xff\xc0") + 5
    yield "bomb.jpg", Case(replaced(content, size, struct.pack(">HH", huge, huge)), reason=BOMB)
    screen = b"GIF89a" + struct.pack("<HH", huge, huge) + b"\x80\0\0" + bytes(6)
    frame = b"," + struct.pack("<HHHH", 0, 0, huge, huge) + b"\0\x02\x02\x4c\x01\0;"
    yield "bomb.gif", Case(screen + frame, reason=BOMB)
    flat_bmp = replaced(encode(Image.new("RGB", (8, 8)), "BMP"), 18, struct.pack("<ii", huge, huge))
    yield "bomb.bmp", Case(flat_bmp, reason=BOMB)
    yield "bomb.ppm", Case(b"P6 60000 60000 255\n", reason=BOMB)
    small, large = struct.pack(">II", SIDE, SIDE), struct.pack(">II", huge, huge)
    ispe = b"ispe\0\0\0\0"  # of the picture, in the header; the pixels are those of a small one
    lie = heic(Image.fromarray(scene())).replace(ispe + small, ispe + large)
    yield "bomb.heic", Case(lie, reason="^60000x60000 pixels, more than")
    yield "bomb.webp", Case(webp_header(16_383), reason=ANYTHING)
    content = jpeg(progressive=True)
    last = content.rindex(b"\xff\xda")
    scans = content[:-2] + content[last:-2] * 200 + b"\xff\xd9"
    yield (
        "hundreds of scans.jpg",
        Case(scans, reason="costs too much to decode: more than 100 scans$"),
    )


def webp_header(side: int) -> bytes:
    canvas = b"\0\0\0\0" + (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def no_pictures() -> Iterator[tuple[str, Case]]:
    yield "empty.jpg", Case(b"", reason="^empty file$")
    unknown = {
        "zeros.jpg": bytes(5000),
        "text.jpg": "Käse".encode() * 100,
        "json.png": b'{"error": "rate limit"}',
        "script.eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "byte order mark.jpg": b"\xef\xbb\xbf" + jpeg(),
    }
    for name, content in unknown.items():
        yield name, Case(content, reason=UNKNOWN_FORMAT)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    kinds = {
        "web page.jpg": ("an HTML page; .*: download it again", page),
        "pointer.jpg": ("a Git LFS pointer; .*: git lfs pull", pointer),
        "vector.svg.png": (
            "an SVG drawing; convert it to JPEG or PNG",
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        ),
        "photoshop.psd.jpg": (
            "a Photoshop file; convert it to JPEG or PNG",
            b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 64, 64, 8, 3) + bytes(99),
        ),
        "film.mp4.jpg": (
            "a film",
            struct.pack(">I", 24) + b"ftypisom\0\0\2\0isomiso2" + bytes(99),
        ),
        "page.pdf.jpg": ("a PDF; export its pictures", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"),
        "icon.ico.jpg": (
            "an icon; convert it to JPEG or PNG",
            struct.pack("<HHHBBBBHHII", 0, 1, 1, 9, 9, 0, 0, 1, 32, 9, 22) + bytes(9),
        ),
        "archive.zip.jpg": ("a zip; unpack it", b"PK\x05\x06" + bytes(18)),
    }
    for name, (kind, content) in kinds.items():
        yield name, Case(content, reason=f"^not a picture that can be read: {kind}$")
    nothing = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(99)
    yield (
        "no more than a header of a heic.jpg",
        Case(nothing, reason="^a HEIC that cannot be decoded: Invalid input: "),
    )
    floats = Image.fromarray(np.full((SIDE, SIDE), 0.5, np.float32))
    yield "floats.tiff", Case(encode(floats, "TIFF"), reason="floating-point")
