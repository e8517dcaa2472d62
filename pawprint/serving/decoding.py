"""Decodes the pictures of requests, each within its allowance of time, memory and pixels."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import numpy as np

from pawprint.answers.decoders import Decoder, Decoders
from pawprint.answers.orders import Decoded, DecodingLimits, Order
from pawprint.runner.errors import ImageError, ImageFault
from pawprint.serving.limits import Refusal
from pawprint.serving.models import Served
from pawprint.serving.settings import Settings
from pawprint.serving.turns import Line, Turns
from pawprint.serving.uploads import Upload

RETRY_S = 1.0  # after no process could be started
Settled = TypeVar("Settled")
AT_ONCE_BYTES = 1_000_000  # of a picture that is handed on in less time than a thread takes


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
        size_px: side of the largest picture that a model wants.
    """

    def __init__(self, settings: Settings, size_px: int) -> None:
        limits = DecodingLimits(
            settings.max_picture_s, memory_bytes=int(settings.max_picture_mb * 1_000_000)
        )
        count = settings.decoder_count
        self._pixels, self._cpu_s = settings.max_request_pixels, settings.max_request_s
        self._decoders = Decoders(count, limits, size_px)
        self._turns = Turns(count)
        self._failed_at = -math.inf
        self._work: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        return self._decoders.busy

    @property
    def stuck(self) -> bool:
        """Whether all decoders are at pictures that take long, or one could not be started now."""
        return self._decoders.stuck or monotonic() - self._failed_at < RETRY_S

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
        answer: asyncio.Future[Decoded] = asyncio.get_running_loop().create_future()
        # Goes on when its request is given up: its decoder is at work until then
        work = asyncio.create_task(self._decode(order, allowance, answer))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        try:
            result = (await answer).result
        except (OSError, RuntimeError):  # of processes, or of threads
            raise Refusal(
                503,
                "decoders",
                "no process can be started to decode; try again",
                {"Retry-After": "5"},
            ) from None
        if isinstance(result, np.ndarray):
            return result
        try:
            raise result
        finally:  # or they would keep each other, and the file, until Python looks for such
            del result, answer, work

    async def _decode(
        self, order: Order, allowance: Allowance, answer: asyncio.Future[Decoded]
    ) -> None:
        """Have a picture decoded at the place that was taken, and count what it took."""
        try:
            decoder = self._decoders.take()  # one is idle: there are as many as places
            try:
                if decoder.ended:
                    decoder = await asyncio.to_thread(self._decoders.renew, decoder)
                decoded = await _ask(decoder, order, self._decoders.limits.wall_s)
            finally:
                self._decoders.give_back(decoder)
            allowance.pixels_left -= decoded.pixels
            allowance.cpu_left_s -= decoded.cpu_s
            _settle(answer, decoded)
        except Exception as error:
            self._failed_at = monotonic()
            if not answer.done():
                answer.set_exception(error)
        finally:
            self._turns.give_back(allowance.line)

    def close(self) -> None:
        """End the decoders; the loop must still run."""
        self._decoders.close()


async def _ask(decoder: Decoder, order: Order, wall_s: float) -> Decoded:
    if isinstance(order.content, bytes) and len(order.content) <= AT_ONCE_BYTES:
        decoder.begin(order)
    else:
        await asyncio.to_thread(decoder.begin, order)
    late = not await _wait_readable(decoder, wall_s)
    decoded = None if late else decoder.receive()
    return await asyncio.to_thread(decoder.refuse, late) if decoded is None else decoded


async def _wait_readable(decoder: Decoder, seconds: float) -> bool:
    """Whether there is something to receive within so many seconds."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(seconds, _settle, readable, False)
    loop.add_reader(decoder, _settle, readable, True)
    try:
        return await readable
    finally:
        loop.remove_reader(decoder)
        timer.cancel()


def _settle(future: asyncio.Future[Settled], value: Settled) -> None:
    if not future.done():
        future.set_result(value)
