"""The order in which suspects are looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pawprint.suspects.labels import DoubtedLabels
from pawprint.suspects.reasons import Reason

_LABELS_IN_TURN = 9  # rows in a row, while wrong labels are expected; then one of the others
_MARGIN = (
    1.5  # rows of labels for each wrong one that is expected: some hard pictures are among them
)


@dataclass(frozen=True)
class RankedPicture:
    """A picture, with all its reasons; the first is the one for which it stands where it stands."""

    row: int
    reasons: tuple[Reason, ...]

    @property
    def suggested(self) -> int | None:
        """The place of the class that it may be; None: no reason suggests one."""
        return next((r.suggested for r in self.reasons if r.suggested is not None), None)


def rank_suspects(
    doubted: DoubtedLabels, conflicts: Sequence[Reason], others: Sequence[Reason]
) -> list[RankedPicture]:
    """Put what is likely a wrong label and what is otherwise odd into one order.

    Where few labels are expected to be wrong, both take turns, one each: the worst pictures of
    clean data are mostly no animals at all, of which a classifier may be sure. Where more are
    expected, nine labels come for each of the others, until half as many again as are expected.
    Measured in docs/suspects.md.

    Args:
        doubted: likely wrong labels, the surest first, and how many are expected.
        conflicts: copies with different labels. Of these, one whose label the model doubts too
            stands before all other doubted labels, and one whose label it holds behind them.
        others: all other reasons, the gravest first.

    Returns:
        Each picture once, at its best place.
    """
    at_odds, doubts = {r.row for r in conflicts}, {r.row for r in doubted.reasons}
    labels = [r for r in doubted.reasons if r.row in at_odds]
    early = len(labels) + round(_MARGIN * doubted.expected)
    labels += [r for r in doubted.reasons if r.row not in at_odds]
    labels += [r for r in conflicts if r.row not in doubts]
    reasons: dict[int, list[Reason]] = {}
    for reason in (*doubted.reasons, *conflicts, *others):
        reasons.setdefault(reason.row, []).append(reason)
    return [
        RankedPicture(r.row, _first(r, reasons[r.row])) for r in _take_turns(labels, others, early)
    ]


def _take_turns(labels: Sequence[Reason], others: Sequence[Reason], early: int) -> list[Reason]:
    """Both lists as one, each row once; for the first ``early`` labels, nine come in turn."""
    order: list[Reason] = []
    seen: set[int] = set()
    left, right, given = deque(labels), deque(others), 0
    while left or right:
        turn = max(1, min(_LABELS_IN_TURN, early - given))
        given += turn
        for queue, count in ((left, turn), (right, 1)):
            while count and queue:
                reason = queue.popleft()
                if reason.row not in seen:
                    seen.add(reason.row)
                    order.append(reason)
                    count -= 1
    return order


def _first(reason: Reason, reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return (reason, *(other for other in reasons if other != reason))
