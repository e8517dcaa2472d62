"""What is decided, one picture at a time: each decision is on the disk before it is answered."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from threading import Lock

from pawprint.data.decisions import Decision, Verdict, read_decisions, write_decisions
from pawprint.runner.errors import DataError


class Desk:
    """The file of decisions, read anew for each of them: others may write it meanwhile.

    Args:
        path: of the file; made with the first decision if missing.
        class_names: that a picture can be given.
        who: decides, in one line.

    Raises:
        DataError: the name cannot be written.
    """

    def __init__(self, path: Path, class_names: Collection[str], who: str = "") -> None:
        self._path, self._class_names, self._who = path, class_names, _one_line("who", who)
        self._lock = Lock()

    def read(self) -> dict[str, Decision]:
        """All decisions.

        Raises:
            DataError: see ``read_decisions``.
        """
        if not self._path.exists():
            return {}
        return read_decisions(self._class_names, self._path)

    def decide(
        self, sha256: str, decision: str, label: str = "", why: str = "", who: str | None = None
    ) -> tuple[int, Decision | None]:
        """Write one decision in the place of an earlier one on the same picture.

        Args:
            sha256: of the picture.
            decision: a ``Verdict``.
            label: of a picture to be relabelled.
            why: as the person says it; in one line.
            who: decided, where it is not the one who sits here: an earlier decision comes back.

        Returns:
            How many decisions there are now, and the one in whose place it stands.

        Raises:
            DataError: the decision, its label, or the file as it is now, is wrong.
            OSError: it cannot be written.
        """
        try:
            verdict = Verdict(decision)
        except ValueError:
            raise DataError(
                f"decision: expected {', '.join(Verdict)}, found {decision!r}"
            ) from None
        if (label not in self._class_names) if verdict is Verdict.RELABEL else label:
            raise DataError(f"label: expected one of {', '.join(self._class_names)}")
        who = self._who if who is None else _one_line("who", who)
        new = Decision(sha256, verdict, label, who, _one_line("why", why))
        with self._lock:
            decisions = self.read()
            before = decisions.get(sha256)
            decisions[sha256] = new
            write_decisions(decisions, self._path)
            return len(decisions), before

    def reopen(self, sha256: str) -> tuple[int, Decision | None]:
        """Take a decision back; see ``decide``."""
        with self._lock:
            decisions = self.read()
            if before := decisions.pop(sha256, None):
                write_decisions(decisions, self._path)
            return len(decisions), before


def _one_line(name: str, text: str) -> str:
    line = " ".join(text.split())
    try:
        line.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name}: expected text, found half of a character") from None
    return line
