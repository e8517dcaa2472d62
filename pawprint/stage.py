"""How every stage starts and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pawprint.errors import PawprintError
from pawprint.params import Params, load_params


def run_stage(main: Callable[[Params], None]) -> None:
    """Check all of params.yaml, then run a stage; a user's mistake is one line and exit code 1."""
    try:
        main(load_params())
    except PawprintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; `dvc repro` starts this stage again")
    except OSError as error:
        # Full disks and missing permissions are the user's to mend; there is nothing to trace.
        name = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {name}{error.strerror or error}")
