"""How far a search is: a bar in a terminal, a line for each trial elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from pawprint.search.study import Trial
from pawprint.search.summary import rank

_END_S = 5.0  # for what is said and drawn at the end
_BAR = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}{postfix}"


class Budget:
    """What a search may take.

    Args:
        minutes: of this call, from its start; None: no limit.
        trials: in all, with those of earlier calls; None: no limit.
        began: when the call began, by the clock.
        clock: seconds.
    """

    def __init__(
        self,
        minutes: float | None,
        trials: int | None,
        began: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trials = trials
        self._began, self._clock = began, clock
        self._seconds = None if minutes is None else minutes * 60
        self._durations: list[float] = []

    def note(self, seconds: float) -> None:
        """A trial of this call has taken so long."""
        self._durations.append(seconds)

    def allows(self, done: int) -> bool:
        """Whether one more trial may begin, which is expected to take what the last ones took."""
        if self.trials is not None and done >= self.trials:
            return False
        return self._seconds is None or self._left() >= self._expected() + _END_S

    def share(self, done: float) -> float:
        """How much of it is used, from 0 to 1: of trials or of time, whichever is more.

        Args:
            done: trials in all, with the share of the one that runs.
        """
        shares = [0.0]
        if self.trials is not None:
            shares.append(done / self.trials)
        if self._seconds is not None:
            shares.append(1 - self._left() / self._seconds)
        return min(1.0, max(shares))

    def seconds_left(self, done: float) -> float | None:
        """Until the search ends; None as long as that cannot be told."""
        found = []
        if self._seconds is not None:
            found.append(max(0.0, self._left()))
        if self.trials is not None and self._durations:
            found.append(max(0.0, self.trials - done) * self._expected())
        return min(found, default=None)

    def _left(self) -> float:
        assert self._seconds is not None
        return self._seconds - (self._clock() - self._began)

    def _expected(self) -> float:
        last = self._durations[-10:]
        return sum(last) / len(last) if last else 0.0


class SearchProgress:
    """A bar with the time left, or lines where nobody watches, as in a log.

    Args:
        budget: of the search.
        trials: those that there are, to which the search adds.
    """

    def __init__(self, budget: Budget, trials: Sequence[Trial]) -> None:
        self._budget, self._trials = budget, trials
        self._watched = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar = tqdm(total=100, desc="search", disable=not self._watched, bar_format=_BAR)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def follow(self, share: float) -> None:
        """A share of the trial that runs is done."""
        if self._watched:
            done = len(self._trials) + share
            self._bar.n = 100 * self._budget.share(done)
            self._bar.set_postfix_str(self._tell(done))

    def tell_trial(self, trial: Trial) -> None:
        """A trial has ended."""
        self.follow(0)
        if self._watched:
            return
        figure = f"failed: {trial.reason}" if trial.loss is None else f"log loss {trial.loss:.4f}"
        seconds = trial.training_s + trial.dvc_s
        print(
            f"trial {trial.number}: {figure}, {seconds:.1f} s; {self._tell(len(self._trials))}",
            file=sys.stderr,
            flush=True,
        )

    def _tell(self, done: float) -> str:
        of = f" of {self._budget.trials}" if self._budget.trials is not None else ""
        parts = [f"{int(done)}{of} trials"]
        if ranked := rank(self._trials):
            parts.append(f"best {ranked[0].loss:.4f} (trial {ranked[0].number})")
        left = self._budget.seconds_left(done)
        if left is not None:
            parts.append(f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left")
        return ", ".join(parts)
