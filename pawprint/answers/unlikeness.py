"""Whether a picture is unlike the training pictures, as the command line and the server say it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Unlike:
    """What a model that tells unlikeness says of a picture, beside its class.

    Attributes:
        ratio: d / t, 0 at least, see ``pawprint.unlikeness``.
        unlike: whether it is above the model's ``unlike_above``.
    """

    ratio: float
    unlike: bool

    def __str__(self) -> str:
        """``unlike the training pictures (1.8)``; nothing of a picture that is like them.

        The ratio is rounded up, so that one just above 1 is not shown as 1.

        >>> str(Unlike(1.0003, True)), str(Unlike(123.456, True)), str(Unlike(0.4, False))
        ('unlike the training pictures (1.01)', 'unlike the training pictures (123.46)', '')
        """
        shown = abs(np.ceil(100 * self.ratio - 1e-9)) / 100  # as static/page.js has it
        return f"unlike the training pictures ({shown:.12g})" if self.unlike else ""


def tell_unlikeness(ratio: np.float32 | None, above: float | None) -> Unlike | None:
    """What is said of one picture; None where the model does not tell it.

    The ratio keeps just the digits that tell it from other float32 numbers.

    Args:
        ratio: of the model, if it gives one.
        above: ``unlike_above`` of its card.

    >>> str(tell_unlikeness(np.float32(1.8), 1.0)), tell_unlikeness(np.float32(1.8), 2.0)
    ('unlike the training pictures (1.8)', Unlike(ratio=1.8, unlike=False))
    >>> tell_unlikeness(None, None)
    """
    if ratio is None or above is None:
        return None
    return Unlike(float(str(ratio)), bool(ratio > above))
