"""How many connections the system's limit on open files allows."""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import dataclass
from typing import Any

from pawprint.runner.errors import PawprintError

OWN_FILES = 48  # models, log, event loop
PER_DECODER = 4
AT_ONCE = 32  # connections that are accepted in one turn of the event loop
FEW_AT_ONCE = 8  # where the limit is low
UNPLACED_TURNS = 4  # in which those go on being accepted until the first of them can be closed
FEWEST = 8  # connections that make a server
NO_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True)
class Room:
    """What a server has room for.

    Attributes:
        connections: at a time.
        at_once: connections accepted at once.
        spare: places beyond those, for what is answered in no time.
    """

    connections: int
    at_once: int = AT_ONCE

    @property
    def spare(self) -> int:
        return 2 * self.at_once

    def files(self, decoders: int) -> int:
        """How many files may be open at a time.

        >>> Room(512).files(4)
        768
        """
        own = OWN_FILES + PER_DECODER * decoders
        return own + UNPLACED_TURNS * self.at_once + self.spare + self.connections


class Listener(socket.socket):
    """A socket that is listened on, and that asyncio leaves alone for a second if no file is left.

    asyncio does so by itself, but tries as often in the same turn as it would have accepted, and
    comes back once for each: soon it does nothing else. Here it is told once, and then that nobody
    waits: see tests/test_private_sides.py.
    """

    _is_full = False

    def accept(self) -> tuple[socket.socket, Any]:
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            self._is_full = error.errno in NO_FILE
            raise


def make_room(wanted: int, decoders: int) -> Room:
    """Raise the limit on open files as far as needed, and keep to it.

    Args:
        wanted: connections.
        decoders: processes that decode.

    Raises:
        PawprintError: it allows too few to be of use.
    """
    room = Room(wanted)
    limit = _raise_limit(room.files(decoders))
    if limit >= room.files(decoders):
        return room
    allowed = limit - Room(0, FEW_AT_ONCE).files(decoders)
    if allowed < min(wanted, FEWEST):
        least = Room(min(wanted, FEWEST), FEW_AT_ONCE).files(decoders)
        raise PawprintError(
            f"open files: expected a limit of {least} or more, found {limit}; raise it (ulimit -n)"
        )
    return Room(min(wanted, allowed), FEW_AT_ONCE)


def _raise_limit(needed: int) -> int:
    """How many files may be open, or `needed` if that is no question."""
    if sys.platform == "win32":  # its sockets are no files
        return needed
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return needed if soft == resource.RLIM_INFINITY else soft
