"""Why a picture is a suspect."""

from __future__ import annotations

from dataclasses import dataclass

LABEL, UNLIKE, DUPLICATE, SHORTCUT = "label", "unlike", "duplicate", "shortcut"
DARK, BLURRED, TINY, SHAPE = "dark", "blurred", "tiny", "shape"


@dataclass(frozen=True)
class Reason:
    """One reason of one picture.

    Attributes:
        row: of the picture.
        word: one of the constants above.
        detail: what was found, for a person.
        score: larger is more suspicious; comparable among reasons of one word only.
        suggested: the place of the class that it may be instead; None: nothing is suggested.
    """

    row: int
    word: str
    detail: str
    score: float
    suggested: int | None = None

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}"
