"""DVC's command line, each command in a process of its own that begins with DVC imported.

It takes longer to import than most of its commands take. So one process imports it, and forks for
each command; what is forked runs what the program ``dvc`` runs.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

TIMEOUT_S = 600
# What DVC imports when a command wants it
IMPORTED = (
    *("dvc.cli.parser", "dvc.repo.index", "dvc.repo.plots", "dvc.repo.graph", "dvc.stage.run"),
    *("dvc.repo.experiments.queue.celery", "dvc.repo.experiments.show", "dvc.ui.table"),
    *("celery.app.amqp", "hydra.core.override_parser.overrides_parser", "hydra._internal"),
    *("dulwich.ignore", "dulwich.porcelain", "networkx", "pygit2", "rich.table", "ruamel.yaml"),
)


def run_dvc(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    with tempfile.NamedTemporaryFile() as log:
        order = [list(arguments), str(directory), dict(environment), log.name]
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], TIMEOUT_S)[0]:
            _end(server)
            _server.cache_clear()
            raise subprocess.TimeoutExpired(["dvc", *arguments], TIMEOUT_S)
        code = int(server.stdout.readline())
        return code, Path(log.name).read_text(encoding="utf-8")


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; it ends with this one."""
    # libgit2 looks for its user's settings when it is imported: there are none
    server = subprocess.Popen(
        [sys.executable, "-P", __file__],
        env=os.environ | {"HOME": os.devnull, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    """Also what it has forked, and its stages."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.communicate()


def _serve() -> None:
    """Fork for each line of standard input; answer with exit codes."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    answers = os.dup(1)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(*json.loads(line))
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(arguments: list[str], directory: str, environment: dict[str, str], log: str) -> None:
    """Become the command."""
    from dvc.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    printed = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv[:] = ["dvc", *arguments]
    sys.exit(main())


if __name__ == "__main__":
    _serve()
