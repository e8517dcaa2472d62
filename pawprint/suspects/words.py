"""What stage suspects tells the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pawprint.suspects.labels import DoubtedLabels
from pawprint.suspects.ranking import RankedPicture
from pawprint.suspects.shortcuts import Shortcut


def describe_suspects(
    suspects: Sequence[RankedPicture],
    most: int,
    doubted: DoubtedLabels,
    remarks: Sequence[str],
    shortcuts: Sequence[Shortcut],
) -> Iterator[str]:
    """Lines: how many, of which kind, and what a person should mind.

    Args:
        suspects: all of them.
        most: so many are listed.
        doubted: what the probabilities say of the labels.
        remarks: sentences without a full stop.
        shortcuts: what tells a label.
    """
    counts = Counter(suspect.reasons[0].word for suspect in suspects)
    kinds = ", ".join(f"{word} {count}" for word, count in counts.most_common())
    yield f"{len(suspects)} pictures have a reason to be looked at{kinds and f': {kinds}'}"
    if len(suspects) > most:
        yield (
            f"the first {most} are listed, {len(suspects) - most} are not: suspects.most is the "
            "limit"
        )
    if doubted.expected:
        agreed = doubted.judged - len(doubted.reasons)
        yield (
            f"about {doubted.expected} labels may be wrong, if the heads can be trusted: they "
            f"agree with {agreed} of {doubted.judged} labels"
        )
    if doubted.unjudged:
        yield (
            f"warning: the labels of {doubted.unjudged} pictures were not judged: all of their "
            "class in train and val are in one fold, so that no head had learned it; add pictures "
            "of these classes"
        )
    yield from (f"warning: {remark}" for remark in remarks)
    yield from (f"warning: shortcut: {shortcut}" for shortcut in shortcuts)
