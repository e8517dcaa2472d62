"""Bounds what a HEIC or AVIF holds, and the pixels that lie behind the size that it states.

A picture may be a grid of others, each of these has a size of its own in its coded data, and any of
them may state little and hold much. The first frame of a film may be the picture, too.

Source: ISO/IEC 14496-12, section 8 (tracks).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from pawprint.pictures.bitstreams import count_av1_pixels, count_hevc_pictures
from pawprint.pictures.boxes import Box, walk_boxes
from pawprint.pictures.costs import too_costly
from pawprint.pictures.heif_items import Items

MAX_SAMPLES = 2**20  # frames of a film
SPARE_CODED_PIXELS = 2**22  # that may be decoded beyond four times those of the picture


@dataclass
class _Track:
    """What a file says of a film of which the first frame is the picture.

    Attributes:
        stated: pixels of a frame.
        kind: of its coded data.
        place: where the first frame is.
        size_bytes: of the first frame.
    """

    stated: int = 0
    kind: bytes = b""
    place: int = 0
    size_bytes: int = 0

    def read(self, kind: bytes, box: Box) -> None:
        """Read a box that describes the film; others are left alone.

        Raises:
            ImageError: of the kind ``COSTLY``: too many frames.
            EOFError: the box ends too early.
        """
        if kind == b"tkhd":
            box.place = max(box.place, box.end - 8)
            self.stated = (box.number(4) >> 16) * (box.number(4) >> 16)
        elif kind == b"stsd":
            box.take(8)
            self.kind = next((name for name, _ in box.boxes()), b"")
        elif kind in (b"stco", b"co64"):
            box.take(8)
            self.place = box.number(4 if kind == b"stco" else 8)
        elif kind == b"stsz":
            box.take(4)
            each, frames = box.number(4), box.number(4)
            if frames > MAX_SAMPLES:
                raise too_costly(f"more than {MAX_SAMPLES} frames")
            self.size_bytes = each or box.number(4)

    def decoded_pixels(self, content: bytes, seen: count[int]) -> int:
        """How many pixels are decoded for the first frame."""
        end = self.place + self.size_bytes
        if self.kind == b"av01":
            return count_av1_pixels(content, self.place, end, seen)
        if self.kind in (b"hvc1", b"hev1"):
            return self.stated * count_hevc_pictures(content, self.place, end, 4, seen)
        return 0


def check_heif(content: bytes, max_pixels: int) -> None:
    """Refuse a HEIC or AVIF that holds too much.

    Args:
        content: a file that begins as these do.
        max_pixels: as many as a picture may have.

    Raises:
        ImageError: of the kind ``COSTLY``; it says what there is too much of.
    """
    albums, tracks = [Items()], [_Track()]
    for kind, box in walk_boxes(content):
        if kind == b"meta":
            albums.append(Items())
        elif kind == b"trak":
            tracks.append(_Track())
        try:
            albums[-1].read(kind, box)
            tracks[-1].read(kind, box)
        except EOFError:
            continue  # cut short: a decoder refuses it
    seen = count()
    for items in albums:
        items.check_metadata(content)
        stated = items.stated_pixels(items.primary)
        is_cut = any(items.of(items.primary, b"clap"))  # to a size that may be allowed
        if stated <= max_pixels or is_cut:
            _check_pixels(items.decoded_pixels(content, items.primary, seen), stated, max_pixels)
    for track in tracks:
        if track.stated <= max_pixels:
            _check_pixels(track.decoded_pixels(content, seen), track.stated, max_pixels)


def _check_pixels(decoded: int, stated: int, max_pixels: int) -> None:
    """Bound the pixels to decode; a picture that states too many is refused for its size later.

    Twice as many as may be are decoded for one with transparency.
    """
    if decoded > min(4 * stated, 2 * max_pixels) + SPARE_CODED_PIXELS:
        raise too_costly(f"{decoded} pixels to decode for a picture of {stated}")
