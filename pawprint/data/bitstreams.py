"""How many pixels the coded data of a HEIC or AVIF holds, whatever the file around it says.

Source: AV1 bitstream specification, sections 5.3 to 5.5; ITU-T H.265, sections 7.3.1 and 7.4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from pawprint.data.costs import too_costly

MAX_UNITS = 2**16  # of a file's coded data
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_HEADER_BYTES = 512  # a sequence header is shorter


def count_av1_pixels(content: bytes, start: int, end: int, seen: count[int]) -> int:
    """The pixels of all frames together, each as large as the largest may be.

    Args:
        content: a file.
        start: where the coded data of a picture begins in it.
        end: where it ends.
        seen: counts the units of the file.

    Raises:
        ImageError: of the kind ``COSTLY``: more than ``MAX_UNITS`` units.
    """
    largest = frames = 0
    for kind, first, last in _list_av1_units(content, start, min(end, len(content))):
        _check_units(seen)
        if kind == _SEQUENCE_HEADER:
            header = content[first : min(last, first + _HEADER_BYTES)]
            largest = max(largest, _read_sequence_pixels(header))
        frames += kind in (_FRAME_HEADER, _FRAME)
    return largest * max(1, frames)


def _list_av1_units(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The type of each unit, and where its payload begins and ends."""
    while start < end:
        header = content[start]
        start += 2 if header & 4 else 1
        size = end - start
        if header & 2:
            size = shift = 0
            for byte in content[start : start + 8]:
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            start += shift // 7
        yield header >> 3 & 15, start, min(end, start + size)
        start += size


def _check_units(seen: count[int]) -> None:
    if next(seen) >= MAX_UNITS:
        raise too_costly(f"more than {MAX_UNITS} units of coded data")


class _Bits:
    """The bits of a header, one after the other; zeros follow its end."""

    def __init__(self, header: bytes) -> None:
        self._value = int.from_bytes(header + bytes(_HEADER_BYTES), "big")
        self._left = 8 * (len(header) + _HEADER_BYTES)

    def read(self, bits: int) -> int:
        self._left = max(0, self._left - bits)
        return self._value >> self._left & ((1 << bits) - 1)

    def skip_unsigned(self) -> None:
        """A number behind as many zeros as it has bits, but one."""
        zeros = 0
        while zeros < 32 and not self.read(1):
            zeros += 1
        self.read(zeros)


def _read_sequence_pixels(header: bytes) -> int:
    bits = _Bits(header)
    bits.read(4)  # profile, still picture
    if bits.read(1):  # a short header
        bits.read(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(width_bits) + 1) * (bits.read(height_bits) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):  # all pictures last equally long
            bits.skip_unsigned()
        if bits.read(1):  # the decoder's model
            delay_bits = bits.read(5) + 1
            bits.read(42)
    is_delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # its level has a tier
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if is_delayed and bits.read(1):
            bits.read(4)


def count_hevc_pictures(
    content: bytes, start: int, end: int, length_bytes: int, seen: count[int]
) -> int:
    """How many pictures the coded data of one holds.

    Args:
        content: a file.
        start: where the coded data of a picture begins in it.
        end: where it ends.
        length_bytes: of the length before each unit.
        seen: counts the units of the file.

    Raises:
        ImageError: of the kind ``COSTLY``: more than ``MAX_UNITS`` units.
    """
    pictures, end = 0, min(end, len(content))
    while (first := start + length_bytes) + 2 < end:
        _check_units(seen)
        is_slice = content[first] >> 1 & 63 < 32
        pictures += is_slice and content[first + 2] >> 7  # the first slice of a picture
        start = first + int.from_bytes(content[start:first], "big")
    return pictures
