"""How every stage starts, ends, and keeps what it has done if it cannot end."""

from __future__ import annotations

import errno
import gc
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pawprint.core.errors import PawprintError
from pawprint.core.files import NO_SPACE
from pawprint.core.params import Params, load_params
from pawprint.core.processes import end_with_dvc

UNFINISHED = Path(".resume")  # git ignores it, DVC does not know it


def run_stage(main: Callable[[Params], None]) -> None:
    """Check all of params.yaml, then run a stage; a user's mistake is one line and exit code 1."""
    end_with_dvc()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(load_params())
    except PawprintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; `dvc repro` starts this stage again")
    except OSError as error:
        # Full disks and missing permissions are the user's to mend; there is nothing to trace.
        sys.exit(f"error: {describe_os_error(error)}")
    finally:
        gc.freeze()  # or Python, as it ends, looks through a million objects: more than a second


def describe_os_error(error: OSError) -> str:
    """One line: the path, what the system says, and what to do where that is known."""
    name = f"{error.filename}: " if error.filename else ""
    remedy = ""
    if error.errno in NO_SPACE:
        remedy = "; free some space, then run `dvc repro` again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "; allow this user to read and write there, then run `dvc repro` again"
    return f"{name}{error.strerror or error}{remedy}"


@contextmanager
def unfinished_work(stage: str, key: str) -> Iterator[Path]:
    """A directory whose files are there again when a stage runs once more after it was stopped.

    DVC deletes a stage's outputs before it runs it. So work is done here first, and moved to its
    place when all of it is done.

    Args:
        stage: its name.
        key: ``fingerprint(stage, params)``. What was made under another key is deleted.

    Yields:
        ``.resume/<stage>/<key>``; a block that ends well removes it.
    """
    place = UNFINISHED / stage / key
    place.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        if other != place:
            shutil.rmtree(other)
    yield place
    shutil.rmtree(place.parent)
