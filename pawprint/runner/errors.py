"""Every error that a user can cause or meet.

    PawprintError               one line: what was expected, what was found, what to do
    ├── ParamsError             params.yaml: an unknown, missing, mistyped or impossible key
    ├── SourceError             the pictures cannot be fetched
    │   ├── LayoutError         they are there, but not in a layout that names their classes
    │   └── KaggleError         Kaggle refused, or could not be reached
    ├── ImageError              one picture cannot be decoded (it is quarantined)
    ├── DataError               the data set as a whole cannot be used
    ├── WeightsError            pretrained weights are missing, damaged or of another network
    ├── ModelError              a network or a model file cannot be used as asked
    ├── WorkerKilled            a process was killed in the middle of its work
    └── StageError              a stage that a command ran has failed, or DVC has

Stages print the message and exit with code 1; no stack trace.
"""

from __future__ import annotations

import errno
from enum import StrEnum

from pawprint.runner.files import is_disk_full


class PawprintError(Exception):
    """Base of all errors that are reported in one line."""


class ParamsError(PawprintError):
    """A key of params.yaml is unknown, missing, mistyped or out of range."""


class SourceError(PawprintError):
    """The pictures cannot be fetched from their source."""


class LayoutError(SourceError):
    """The files are readable, but their layout does not name the classes."""


class KaggleError(SourceError):
    """Kaggle refused the request, or could not be reached."""


class ImageFault(StrEnum):
    """Why a picture cannot be used; the server counts refused pictures by it."""

    EMPTY = "empty"
    FORMAT = "format"  # no picture in a format that is read
    PIXELS = "pixels"  # more than are allowed
    TRUNCATED = "truncated"
    COSTLY = "too_costly"  # to decode: in memory, in time, in bytes
    BASE64 = "base64"  # the client's encoding of the file is wrong
    DAMAGED = "damaged"  # anything else


class ImageError(PawprintError):
    """One picture cannot be decoded; its message is the reason for its quarantine.

    Args:
        message: the reason in a few words; of too many pixels: how many there are.
        fault: its kind.
        limit: of too many pixels: how many may be.
    """

    def __init__(
        self, message: str, fault: ImageFault = ImageFault.DAMAGED, limit: int = 0
    ) -> None:
        super().__init__(message, fault, limit)  # all, or a worker process could not hand it on
        self.fault = fault
        self.limit = limit

    def __str__(self) -> str:
        return self.reason()

    def reason(self, limit_name: str = "") -> str:
        """The message; whoever set the limit of pixels names it.

        >>> ImageError("9x9 pixels", ImageFault.PIXELS, 80).reason("preprocess.max_pixels")
        '9x9 pixels, more than preprocess.max_pixels = 80'
        """
        if not self.limit:
            return str(self.args[0])
        name = f"{limit_name} = " if limit_name else ""
        return f"{self.args[0]}, more than {name}{self.limit}"


class DataError(PawprintError):
    """The data set as a whole cannot be used."""


class WeightsError(PawprintError):
    """Pretrained weights are missing, damaged or made for another network."""


class ModelError(PawprintError):
    """A network cannot be built, or a model file cannot be used, as asked."""


class WorkerKilled(PawprintError):
    """A process was killed from outside, in the middle of its work.

    Args:
        title: of the work.
        name: of the picture that it worked on; empty if that is not known.
    """

    def __init__(self, title: str, name: str) -> None:
        super().__init__(title, name)
        self.title = title
        self.name = name

    def __str__(self) -> str:
        at = f" at {self.name}" if self.name else ""
        return (
            f"{self.title}: a worker process was killed{at}, perhaps for lack of memory; free "
            "some, then run `dvc repro` again"
        )


class StageError(PawprintError):
    """A stage that a command ran by DVC has failed, or DVC has before any.

    Args:
        stage: its name; empty: none had begun.
        reason: what the stage said, or DVC.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(stage, reason)
        self.stage = stage
        self.reason = reason

    def __str__(self) -> str:
        return f"stage {self.stage}: {self.reason}" if self.stage else f"dvc: {self.reason}"


def one_line(error: object, most: int = 200) -> str:
    r"""What a library says, fit for a message of one line.

    Args:
        error: an exception, or any other value.
        most: characters that are kept.

    >>> one_line(ValueError("bad\n  header"))
    'bad header'
    """
    return " ".join(str(error).split())[:most]


def describe_os_error(error: OSError, again: str = "") -> str:
    """One line: the path, what the system says, and what to do where that is known.

    Args:
        error: of the system: a full disk, a missing permission.
        again: the command to run again once that is mended; empty: not named.
    """
    then = f", then run `{again}` again" if again else ""
    remedy = ""
    if is_disk_full(error):
        remedy = f"; free some space{then}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f"; allow this user to read and write there{then}"
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}{remedy}"
