"""The ways in which a picture becomes a square, see ``pawprint.pictures.squares``."""

from __future__ import annotations

from typing import Literal, get_args

Resize = Literal["stretch", "letterbox", "crop"]
STRETCH: Resize = "stretch"  # also of a model that does not say: there was no other way once
RESIZES: tuple[Resize, ...] = get_args(Resize)


def check_resize(value: object) -> None:
    """ValueError where a value, of whatever type, is none of the ways."""
    if value not in RESIZES:
        raise ValueError(f"resize: expected {', '.join(RESIZES)}; found {repr(value)[:50]}")
