"""Says in one line that the packages of requirements.txt are missing: the usual first mistake."""

from __future__ import annotations

import sys
from types import TracebackType

OWN_PACKAGES = ("pawprint", "stages")


def describe_missing(error: BaseException) -> str:
    """What to do about a module that was not found; empty if it is no package of others.

    >>> describe_missing(ModuleNotFoundError(name="openvino.runtime"))
    'needs the requirements: activate .venv (source .venv/bin/activate) or pip install -r \
requirements.txt; missing: openvino'
    """
    name = (getattr(error, "name", "") or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or name in OWN_PACKAGES:
        return ""
    return (
        "needs the requirements: activate .venv (source .venv/bin/activate) or pip install -r "
        f"requirements.txt; missing: {name}"
    )


def tell_missing() -> None:
    """From now on, this process ends with that line and exit code 2 where a package is missing.

    It is for scripts whose imports fail before they can catch anything.
    """

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        missing = describe_missing(error)
        if not missing:
            sys.__excepthook__(kind, error, trace)
            return
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)

    sys.excepthook = tell
