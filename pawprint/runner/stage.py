"""How every stage starts, ends, and keeps what it has done if it cannot end."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pawprint.runner.errors import PawprintError, describe_os_error
from pawprint.runner.files import UNFINISHED
from pawprint.runner.fingerprint import fingerprint, unchanged_inputs
from pawprint.runner.params import ComputeParams, Params
from pawprint.runner.params_file import load_params
from pawprint.runner.processes import end_with_dvc
from pawprint.runner.times import note_time


def run_stage(
    main: Callable[[Params], None],
    compute: Callable[[ComputeParams], AbstractContextManager[None]] | None = None,
) -> None:
    """Check all of params.yaml, then run a stage; a user's mistake is one line and exit code 1.

    Args:
        main: the stage.
        compute: what its shards may be worked on by, for the time of the stage.
    """
    end_with_dvc()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with note_time(_stage_name(), _is_unfinished()):
            params = load_params()
            with (
                unchanged_inputs(_stage_name(), params),
                compute(params.compute) if compute else nullcontext(),
            ):
                main(params)
    except PawprintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(f"error: interrupted; `dvc repro` {_what_comes_next()}")
    except OSError as error:
        # Full disks and missing permissions are the user's to mend; there is nothing to trace.
        sys.exit(f"error: {describe_os_error(error, 'dvc repro')}")
    finally:
        gc.freeze()  # or Python, as it ends, looks through a million objects: more than a second


def _what_comes_next() -> str:
    """What the next run does with the stage that is being stopped."""
    if _is_unfinished():
        return "continues this stage where it was"
    return "starts this stage again"


def _stage_name() -> str:
    """That of its script."""
    return Path(sys.argv[0]).stem


def _is_unfinished() -> bool:
    """Whether something is kept that the stage can go on with."""
    kept = (UNFINISHED / _stage_name()).rglob("*")
    return any(path.is_file() and path.suffix != ".tmp" for path in kept)


@contextmanager
def unfinished_work(stage: str, params: Params) -> Iterator[Path]:
    """A directory whose files are there again when a stage runs once more after it was stopped.

    DVC deletes a stage's outputs before it runs it. So work is done here first, and moved to its
    place when all of it is done.

    Args:
        stage: its name.
        params: all of them.

    Yields:
        ``.resume/<stage>/<fingerprint>``; a block that ends well removes it. What was made under
        another fingerprint is deleted.
    """
    with keep_work(stage, fingerprint(stage, params)) as place:
        yield place


@contextmanager
def keep_work(name: str, key: str) -> Iterator[Path]:
    """The same for what is no stage.

    Args:
        name: of what is done.
        key: a hash of all that determines its results.

    Yields:
        ``.resume/<name>/<key>``, as of ``unfinished_work``.
    """
    place = UNFINISHED / name / key
    place.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        if other != place:
            shutil.rmtree(other)
    yield place
    shutil.rmtree(place.parent)


@contextmanager
def held_alone(directory: Path, refusal: str) -> Iterator[None]:
    """Let no other process work in a directory; the kernel lets go when this one ends.

    Args:
        directory: made if missing.
        refusal: what is said where another process is at work.

    Raises:
        PawprintError: one is.
    """
    import fcntl  # there is none on Windows

    directory.mkdir(parents=True, exist_ok=True)
    number = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = os.path.samestat(os.fstat(number), os.stat(directory))
        except (BlockingIOError, FileNotFoundError):
            alone = False
        if not alone:  # or the one before has just ended, and removed it
            raise PawprintError(f"{directory}: {refusal}")
        yield
    finally:
        os.close(number)
