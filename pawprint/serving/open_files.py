"""How many connections the system's limit on open files allows."""

from __future__ import annotations

import sys

from pawprint.runner.errors import PawprintError
from pawprint.serving.crowd import SPARE

ACCEPTED_AT_ONCE = 32
# Connections that were accepted and whose place is not known yet: those of some turns of the loop
UNPLACED = 4 * ACCEPTED_AT_ONCE
OWN = 64  # the process' own: models, log, event loop
PER_CONNECTION = 2  # itself, and a file of the page that it is sent
FEWEST = 8


def files_for(connections: int) -> int:
    """How many files so many connections may need.

    >>> files_for(512)
    1152
    """
    return OWN + UNPLACED + PER_CONNECTION * (SPARE + connections)


def fit_connections(wanted: int) -> int:
    """Raise the limit on open files as far as needed → how many connections it allows.

    Args:
        wanted: connections; the most that is returned.

    Raises:
        PawprintError: it allows too few to be of use.
    """
    if sys.platform == "win32":  # its sockets are no files
        return wanted
    import resource  # Windows has none

    needed = files_for(wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_below(soft, needed):
        soft = needed if not _is_below(hard, needed) else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if not _is_below(soft, needed):
        return wanted
    allowed = (soft - files_for(0)) // PER_CONNECTION
    if allowed < min(FEWEST, wanted):
        raise PawprintError(
            f"open files: expected a limit of {files_for(FEWEST)} or more, found {soft}; raise it "
            "(ulimit -n)"
        )
    return allowed


def _is_below(limit: int, needed: int) -> bool:
    import resource

    return limit != resource.RLIM_INFINITY and limit < needed
