"""What is said of a model that decides alone, in one or two sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Figures = Mapping[str, Any]
_MANY = 10_000_000  # pictures, which nobody is advised to add


def say_all(figures: Figures) -> Iterator[str]:
    """Lines for the terminal.

    Args:
        figures: of ``metrics/deciding/details.json``.
    """
    yield f"{figures['model']}: what it may decide alone"
    yield from filter(None, (say_coverage(figures), say_rejection(figures), say_sets(figures)))
    if figures["others"]:
        yield f"Pictures of none of the classes: {'; '.join(say_others(figures))}."
    yield say_drift(figures)
    if together := say_together(figures):
        yield together


def say_coverage(figures: Figures) -> str:
    """What the model decides at the wanted precision.

    Args:
        figures: of ``metrics/deciding/details.json``.
    """
    found = figures["coverage"]
    wanted, counted = f"{_share(found['precision'])} precision", found["validation"]
    unlike = figures["pictures"]["validation"] - counted["pictures"]
    pictures = _name_pictures(counted["pictures"], unlike)
    if found["threshold"] is None:
        return f"At {wanted} it decides nothing alone: {_why_not(counted, pictures, unlike)}"
    threshold = 100 * found["threshold"]
    said = (
        f"At {wanted} it decides {_share(found['share'], 1)} of the test pictures alone "
        f"({_bounds(found, 'low', 'high')}): those of which it is at least {threshold:.4g} % sure"
    )
    if not found["decided"]:
        return f"{said}; there is none."
    return (
        f"{said}. Of these {found['decided']:,}, {_share(found['precision_found'], 2)} are right "
        f"({_bounds(found, 'precision_low', 'precision_high')}). Promised with a confidence of "
        f"{_share(found['confidence'])} by {counted['decided']:,} of {pictures}, "
        f"{counted['wrong']:,} of them wrong."
    )


def _name_pictures(accepted: int, unlike: int) -> str:
    """The validation pictures by which a promise is made: not those that it never decides."""
    of_all = f"{accepted:,} validation picture{'s' * (accepted != 1)}"
    return f"{of_all} ({unlike:,} more unlike the training pictures)" if unlike else of_all


def _why_not(counted: Figures, pictures: str, unlike: int) -> str:
    if not counted["pictures"]:
        return "all validation pictures are unlike the training pictures. Raise unlikeness.k."
    if (counted["needed"] or 0) > _MANY:
        return f"{pictures} cannot promise it, nor could ten million. Lower deciding.precision."
    if counted["needed"] is None:
        return (
            f"of {pictures}, even those of which it is surest are wrong too often. Lower "
            "deciding.precision."
        )
    k = "unlikeness.k, " if unlike > counted["pictures"] else ""
    return (
        f"{pictures} cannot promise it, about {counted['needed']:,} could. Raise {k}split.val, add "
        "pictures, or lower deciding.precision."
    )


def say_rejection(figures: Figures) -> str:
    """What it calls unlike the training pictures."""
    found = figures["rejected"]
    if found is None:
        return f"{figures['model']} does not tell what is unlike its training pictures."
    said = (
        f"It calls {_share(found['rate'], 2)} of the test pictures unlike its training pictures "
        f"({_bounds(found, 'low', 'high')}; wanted: {_share(found['wanted'])})."
    )
    rejected, accepted = figures["accuracy_rejected"], figures["accuracy_accepted"]
    if rejected is not None and accepted is not None:
        said += f" Of those {_share(rejected, 2)} are right, of the others {_share(accepted, 2)}."
    return said


def say_others(figures: Figures) -> Iterator[str]:
    """For each kind of other pictures, how many of them it accepts."""
    for name, found in figures["others"].items():
        yield (
            f"{name}: {_share(found['accepted'], 1)} of {found['pictures']:,} accepted "
            f"({_bounds(found, 'low', 'high')})"
        )


def say_drift(figures: Figures) -> str:
    """What a server notices of a change of the pictures."""
    window, limit = figures["drift"]["window"], figures["drift"]["limit"]
    blind = ", ".join(figures["drift"]["blind"])
    if limit >= 1:
        return (
            f"A server cannot tell windows of {window:,} pictures from so few validation pictures "
            f"by: {blind}. Raise split.val, or add pictures."
        )
    said = (
        f"A server notices drift in windows of {window:,} pictures where cumulative shares are "
        f"more than {100 * limit:.0f} points from those of validation."
    )
    if blind:
        said += f" No window can be far enough away by: {blind}; a larger deciding.window may help."
    return said


def say_together(figures: Figures) -> str:
    """What is left out, since it would count twice; empty if nothing is."""
    if not (left_out := figures["pictures"]["together"]):
        return ""
    return (
        f"Left out of this: {left_out:,} of the validation and test pictures, which belong "
        "together with another one, as copies do. One of each group counts."
    )


def say_sets(figures: Figures) -> str:
    """How sets of classes do; empty where none were made."""
    found = figures["conformal"]
    if found is None:
        return ""
    return (
        f"Sets of classes hold the right one for {_share(found['coverage'], 1)} of test pictures "
        f"({_bounds(found, 'low', 'high')}; wanted: {_share(found['wanted'])}), with "
        f"{found['mean_size']:.2f} classes on average; {_share(found['alone'], 1)} hold one alone."
    )


def _share(share: float, digits: int | None = None) -> str:
    text = f"{100 * share:.12g}" if digits is None else f"{100 * share:.{digits}f}"
    return f"{text} %"


def _bounds(found: Figures, low: str, high: str) -> str:
    return f"{100 * found[low]:.1f} to {100 * found[high]:.1f}"
