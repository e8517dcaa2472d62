"""Pictures that cost too much end the process that decodes them, and nothing else."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from living import wait_until
from PIL import Image

from pawprint.answers.decoders import Decoders, open_decoders
from pawprint.answers.orders import DecodingLimits, Order
from pawprint.pictures.images import decode_image
from pawprint.runner.errors import ImageError, ImageFault

CAP = 100_000_000


def encode(image: Image.Image, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


SMALL = encode(Image.linear_gradient("L").convert("RGB"))


@pytest.fixture(scope="module")
def large() -> bytes:
    """64 megapixels of RGB: 256 MB in a decoder, some tenths of a second."""
    return encode(Image.new("RGB", (8000, 8000), "orange"))


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with open_decoders(2, DecodingLimits(), 32) as opened:
        yield opened


def ask(decoders: Decoders, content: bytes | Path, pixels_left: int | None = None) -> ImageError:
    result = decoders.decode(Order(content, 32, CAP, 0, pixels_left)).result
    assert isinstance(result, ImageError)
    return result


def pids() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


def test_pixels_are_those_of_the_pipeline(decoders: Decoders) -> None:
    expected = decode_image(SMALL, 32, CAP)
    for _ in range(5):
        np.testing.assert_array_equal(decoders.decode(Order(SMALL, 32, CAP, 0)).result, expected)
    with ThreadPoolExecutor(8) as threads:
        orders = [Order(SMALL, 32, CAP, 0)] * 40
        for decoded in threads.map(decoders.decode, orders):
            np.testing.assert_array_equal(decoded.result, expected)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (DecodingLimits(cpu_s=0.03), r"takes more than 0\.03 s of processor time to decode"),
        (DecodingLimits(wall_s=0.02), r"takes more than 0\.02 s to decode"),
        (
            DecodingLimits(memory_bytes=100_000_000),
            "8000x8000 PNG needs about 265 MB to decode, more than 99 MB",
        ),
    ],
)
def test_a_picture_that_meets_a_limit_is_refused_and_the_next_one_is_not(
    limits: DecodingLimits, reason: str, large: bytes
) -> None:
    with open_decoders(1, limits, 32) as decoders:
        for _ in range(2):
            error = ask(decoders, large)
            assert error.fault is ImageFault.COSTLY
            with pytest.raises(ImageError, match=f"^{reason}$"):
                raise error
        if limits.wall_s > 1:  # a busy machine may take longer to start a process
            result = decoders.decode(Order(SMALL, 32, CAP, 0)).result
            np.testing.assert_array_equal(result, decode_image(SMALL, 32, CAP))


def test_a_decoder_that_dies_is_replaced(large: bytes) -> None:
    before = pids()
    expected = decode_image(SMALL, 32, CAP)
    with open_decoders(1, DecodingLimits(), 32) as decoders, ThreadPoolExecutor(1) as threads:
        (idle,) = pids() - before
        assert idle
        os.kill(idle, signal.SIGKILL)
        assert wait_until(lambda: idle not in pids(), 20)
        np.testing.assert_array_equal(decoders.decode(Order(SMALL, 32, CAP, 0)).result, expected)
        (other,) = pids() - before
        assert other
        os.kill(other, signal.SIGSTOP)  # or it might be done before it is killed
        at_work = threads.submit(ask, decoders, large)
        assert wait_until(lambda: decoders.busy == 1, 20)
        os.kill(other, signal.SIGKILL)
        assert str(at_work.result()) == "ended the process that decoded it (exit code -9)"
        np.testing.assert_array_equal(decoders.decode(Order(SMALL, 32, CAP, 0)).result, expected)


def test_where_no_process_can_be_started_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: ForkServerProcess) -> None:
        raise EOFError  # as where the process of which it would be a copy cannot make one

    monkeypatch.setattr(ForkServerProcess, "start", start)
    with pytest.raises(BlockingIOError, match="no process can be started to decode"):
        Decoders(1, DecodingLimits(), 32)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_without_room_for_a_file_nothing_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_decoders(1, DecodingLimits(), 32) as decoders:
        files = len(os.listdir("/dev/fd"))
        with monkeypatch.context() as full:
            place = "pawprint.answers.decoders._open_shared"
            full.setattr(place, lambda: os.open("/dev/full", os.O_WRONLY))
            for _ in range(3):
                with pytest.raises(OSError, match="No space left on device"):
                    decoders.decode(Order(SMALL, 32, CAP, 0))
        assert isinstance(decoders.decode(Order(SMALL, 32, CAP, 0)).result, np.ndarray)
        assert len(os.listdir("/dev/fd")) == files


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_ctrl_c_does_not_reach_decoders() -> None:
    """A terminal sends it to all; each of them would print where it was. See `_context`."""
    before = pids()
    with open_decoders(2, DecodingLimits(), 32):
        started = pids() - before
        for pid in started:
            status = Path(f"/proc/{pid}/status").read_text("ascii")
            blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
            assert blocked & 1 << (signal.SIGINT - 1)
        assert len(started) == 2


def test_the_pictures_of_a_request_share_their_pixels(decoders: Decoders) -> None:
    decoded = decoders.decode(Order(SMALL, 32, CAP, 0, 100_000))
    assert decoded.pixels == 256 * 256
    over = decoders.decode(Order(SMALL, 32, CAP, 0, 60_000))
    assert (str(over.result), over.pixels) == ("too many pixels in one request", 256 * 256)
    jpeg = encode(Image.new("RGB", (4000, 2000)), "JPEG")  # decoded at an eighth of its sides
    assert decoders.decode(Order(jpeg, 32, CAP, 0, 10**9)).pixels == 1_000_000


def test_a_picture_that_ends_its_process_takes_all_pixels_of_its_request(large: bytes) -> None:
    with open_decoders(1, DecodingLimits(cpu_s=0.03), 32) as decoders:
        assert decoders.decode(Order(large, 32, CAP, 0, 5 * CAP)).pixels == 5 * CAP


def test_files_are_read_by_the_decoder(decoders: Decoders, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(SMALL)
    result = decoders.decode(Order(path, 32, CAP, 0)).result
    np.testing.assert_array_equal(result, decode_image(SMALL, 32, CAP))
    missing = decoders.decode(Order(tmp_path / "b.png", 32, CAP, 0)).result
    assert isinstance(missing, FileNotFoundError)


def test_a_file_larger_than_any_picture_is_not_read(decoders: Decoders, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.jpg"
    with sparse.open("wb") as file:
        file.truncate(9_000_000_000)
    error = ask(decoders, sparse)
    assert (error.fault, str(error)) == (
        ImageFault.COSTLY,
        "a file of 9,000,000,000 bytes, more than the 816,777,216 that the pixels allowed take",
    )


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no endless file")
def test_a_file_without_end_is_refused(decoders: Decoders) -> None:
    error = ask(decoders, Path("/dev/zero"))
    assert (error.fault, str(error)) == (ImageFault.COSTLY, "takes more than 400 MB to decode")


def test_no_process_stays_when_a_block_is_left_in_the_middle_of_a_picture(large: bytes) -> None:
    before = pids()
    with ThreadPoolExecutor(1) as threads:
        with open_decoders(2, DecodingLimits(), 32) as decoders:
            work = threads.submit(decoders.decode, Order(large, 32, CAP, 0))
            while not decoders.busy:
                pass
        assert isinstance(work.result().result, ImageError)
    assert pids() == before


def test_all_decoders_busy_for_long_are_stuck(
    large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawprint.answers.decoders.STUCK_S", 0.01)
    with ThreadPoolExecutor(2) as threads, open_decoders(2, DecodingLimits(), 32) as decoders:
        one = threads.submit(decoders.decode, Order(large, 32, CAP, 0))
        assert not decoders.stuck  # the other one is idle
        two = threads.submit(decoders.decode, Order(large, 32, CAP, 0))
        seen = False
        while not (one.done() or two.done()):
            seen = seen or decoders.stuck
        assert seen
        one.result(), two.result()
        assert not decoders.stuck
