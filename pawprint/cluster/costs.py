"""What work on a cluster took: pictures a second on each machine, and what the wire carried."""

from __future__ import annotations

import time
from collections import Counter

from pawprint.cluster.messages import Done


class WireCosts:
    """Counts what comes, from now on.

    Args:
        title: of the work.
        unit: what is counted, in the singular.
        cores: that each order takes.

    Attributes:
        bytes_out: of orders.
        again: orders that were handed out once more.
    """

    def __init__(self, title: str, unit: str = "picture", cores: int = 1) -> None:
        self._title, self._begin = title, time.monotonic()
        self._unit, self._cores = unit, cores
        self._pictures: Counter[str] = Counter()  # by machine
        self._work_s: Counter[str] = Counter()
        self._bytes_back = 0
        self.bytes_out = 0
        self.again = 0

    def add(self, node: str, pictures: int, done: Done) -> None:
        self._pictures[node] += pictures
        self._work_s[node] += self._cores * done.seconds  # type: ignore[assignment]
        self._bytes_back += len(done.content)

    def describe(self, cores: int) -> str:
        """Lines for the user; `cores` are those of the cluster."""
        seconds = time.monotonic() - self._begin
        pictures = sorted(self._pictures.items())
        unit = self._unit
        rates = ", ".join(f"{node} {count / seconds:.3g} {unit}s/s" for node, count in pictures)
        idle = max(0.0, 1 - sum(self._work_s.values()) / (seconds * cores))
        lines = [
            f"{self._title} in {seconds:.1f} s: {rates}",
            f"over the wire: {self.bytes_out / 1e6:,.1f} MB out, {self._bytes_back / 1e6:,.1f} MB "
            f"back; the cores waited for it, and for this machine, {idle:.0%} of the time",
        ]
        if self.again:
            lines.append(f"{self.again} orders had no answer in time and were handed out once more")
        return "\n".join(lines)
