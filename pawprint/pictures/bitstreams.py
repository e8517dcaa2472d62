"""How many pixels the coded data of a HEIC or AVIF holds, whatever the file around it says.

Source: AV1 bitstream specification, sections 5.3 to 5.5; ITU-T H.265, sections 7.3.1 and 7.4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from pawprint.pictures.costs import too_costly

MAX_UNITS = 2**16  # of a file's coded data
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6  # types of units
_KEY_FRAME, _SWITCH_FRAME = 0, 3
_EACH_TELLS = 2
_HEADER_BYTES = 512  # more than what is read of a header


def count_av1_pixels(content: bytes, start: int, end: int, seen: count[int]) -> int:
    """The pixels of all frames together, as far as their headers let them be.

    Args:
        content: a file.
        start: where the coded data of a picture begins in it.
        end: where it ends.
        seen: counts the units of the file.

    Raises:
        ImageError: of the kind ``COSTLY``: more than ``MAX_UNITS`` units.
    """
    sequence, pixels = _Sequence(), 0
    for kind, first, last in _list_av1_units(content, start, min(end, len(content))):
        _check_units(seen)
        if kind not in (_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME):
            continue
        bits = _Bits(content[first : min(last, first + _HEADER_BYTES)])
        if kind == _SEQUENCE_HEADER:
            sequence = _read_sequence(bits)
        else:
            pixels += sequence.largest if _may_exceed(bits, sequence) else sequence.usual
    return pixels


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


@dataclass(frozen=True)
class _Sequence:
    """What a sequence header says of the frames that follow.

    Attributes:
        usual: pixels of a frame, unless it says that it differs.
        largest: pixels that a frame which differs may have.
        is_short: no frame differs.
        time_bits: of the time at which a frame is shown.
        screen_content: 0 or 1, for all frames; 2: each frame tells.
        integer_motion: likewise.
        id_bits: of the number of a frame.
    """

    usual: int = 0
    largest: int = 0
    is_short: bool = True
    time_bits: int = 0
    screen_content: int = _EACH_TELLS
    integer_motion: int = _EACH_TELLS
    id_bits: int = 0


def _read_sequence(bits: _Bits) -> _Sequence:
    bits.read(4)  # profile, still picture
    is_short, time_bits = bool(bits.read(1)), 0
    if is_short:
        bits.read(5)
    else:
        time_bits = _read_operating_points(bits)
    wide, high = bits.read(4) + 1, bits.read(4) + 1
    usual, largest = (bits.read(wide) + 1) * (bits.read(high) + 1), 2 ** (wide + high)
    if is_short:
        return _Sequence(usual, largest)
    id_bits = bits.read(4) + bits.read(3) + 3 if bits.read(1) else 0
    bits.read(7)  # tools, up to the filters
    if bits.read(1):  # the order of frames
        bits.read(2)
    screen_content = _EACH_TELLS if bits.read(1) else bits.read(1)
    integer_motion = _EACH_TELLS
    if screen_content and not bits.read(1):
        integer_motion = bits.read(1)
    return _Sequence(usual, largest, False, time_bits, screen_content, integer_motion, id_bits)


def _read_operating_points(bits: _Bits) -> int:
    """Read up to the size of the frames; return the bits of the time at which a frame is shown."""
    delay_bits = time_bits = 0
    if bits.read(1):  # timing
        bits.read(64)
        is_regular = bits.read(1)
        if is_regular:
            bits.skip_unsigned()
        if bits.read(1):  # the decoder's model
            delay_bits = bits.read(5) + 1
            bits.read(37)
            time_bits = bits.read(5) + 1
            time_bits = 0 if is_regular else time_bits
    is_delayed = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # its level has a tier
            bits.read(1)
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if is_delayed and bits.read(1):
            bits.read(4)
    return time_bits


def _may_exceed(bits: _Bits, sequence: _Sequence) -> bool:
    """Whether the header of a frame states a size of its own, which no decoder compares."""
    if sequence.is_short or bits.read(1):  # it shows a frame that is decoded already
        return False
    kind, is_shown = bits.read(2), bits.read(1)
    if is_shown:
        bits.read(sequence.time_bits)
    else:
        bits.read(1)
    if kind != _SWITCH_FRAME and not (kind == _KEY_FRAME and is_shown):
        bits.read(1)
    bits.read(1)
    told = sequence.screen_content
    is_screen = bits.read(1) if told == _EACH_TELLS else told
    if is_screen and sequence.integer_motion == _EACH_TELLS:
        bits.read(1)
    bits.read(sequence.id_bits)
    return kind == _SWITCH_FRAME or bits.read(1) == 1


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
