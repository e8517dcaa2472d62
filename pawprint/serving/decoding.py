"""Decodes the pictures of requests, each within its allowance of time, memory and pixels."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from pawprint.answers.decoders import Decoded, Decoders, DecodingLimits
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.serving.models import Served
from pawprint.serving.settings import Settings
from pawprint.serving.turns import Line, Turns
from pawprint.serving.uploads import Upload


@dataclass
class Allowance:
    """What one request may still have decoded.

    Attributes:
        pixels_left: see ``pawprint.pictures.images.PixelBudget``; below 0 once one was refused.
        cpu_left_s: of processor time.
    """

    pixels_left: int
    cpu_left_s: float
    line: Line = field(default_factory=Line)


class DecodingRoom:
    """Decoders, and the turns in which requests use them.

    A decoder stays taken until it is done, also where its request was given up meanwhile.

    Args:
        settings: how many there are, and what each may take.
        loop: in which requests are answered.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        limits = DecodingLimits(
            settings.max_picture_s, memory_bytes=int(settings.max_picture_mb * 1_000_000)
        )
        count = settings.decoder_count
        self._pixels, self._cpu_s = settings.max_request_pixels, settings.max_request_s
        self._decoders = Decoders(count, limits)
        self._threads = ThreadPoolExecutor(count, "decode")
        self._turns = Turns(count)
        self._loop = loop

    @property
    def busy(self) -> int:
        return self._decoders.busy

    @property
    def stuck(self) -> bool:
        return self._decoders.stuck

    def open_allowance(self) -> Allowance:
        """What a request begins with."""
        return Allowance(self._pixels, self._cpu_s)

    async def decode(self, served: Served, upload: Upload, allowance: Allowance) -> np.ndarray:
        """The picture as the model sees it, uint8 [size, size, 3] in 0...255.

        Raises:
            ImageError: the reason in a few words.
        """
        if upload.content is None:
            raise ImageError("not base64", ImageFault.BASE64)
        await self._turns.take(allowance.line)
        if allowance.cpu_left_s <= 0:
            self._turns.give_back(allowance.line)
            raise ImageError(
                f"the pictures before it took the {self._cpu_s:g} s of processor time of a request",
                ImageFault.COSTLY,
            )
        left = (max(0, allowance.pixels_left), allowance.cpu_left_s)
        order = served.order(upload.content, *left)
        work = self._threads.submit(self._decoders.decode, order)
        # Not when this coroutine goes on: its request may have been given up by then
        work.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._finish, done, allowance)
        )
        decoded = await asyncio.wrap_future(work)
        if isinstance(decoded.result, Exception):
            raise decoded.result
        return decoded.result

    def _finish(self, work: Future[Decoded], allowance: Allowance) -> None:
        """Count what a picture took, and let others have its decoder."""
        if not (work.cancelled() or work.exception()):
            allowance.pixels_left -= work.result().pixels
            allowance.cpu_left_s -= work.result().cpu_s
        self._turns.give_back(allowance.line)

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()
        self._threads.shutdown(cancel_futures=True)
