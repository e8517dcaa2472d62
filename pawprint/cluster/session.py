"""The life of the process that knows Ray: it joins the cluster, and is a client until the end."""

from __future__ import annotations

import logging
import os
import re
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pawprint.cluster.client import RayClient
from pawprint.cluster.machines import PACKAGE
from pawprint.cluster.messages import NotReady, Refused
from pawprint.runner.errors import PawprintError, one_line
from pawprint.runner.limits import keep_large_blocks
from pawprint.runner.processes import end_with_parent

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Work that is not handed out once more notices a link that is cut after five minutes. Not
    # earlier: gRPC's servers end the connection of who asks more often while a task says nothing
    "RAY_grpc_client_keepalive_time_ms": "300000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}
RAY_TOKEN = Path("~/.ray/auth_token").expanduser()
SILENT = (
    "nothing answers there; `ray status` tells whether it runs, and this machine must have joined "
    "it: `ray start --address=HOST:PORT`"
)


def run_client(connection: Connection, address: str, timeout_s: float, log: str) -> None:
    """The life of the process.

    Args:
        connection: to the stage; its end is the end.
        address: ``auto`` or ``host:port``.
        timeout_s: see ``compute.timeout_s``.
        log: file for what Ray has to say.
    """
    end_with_parent()
    keep_large_blocks()
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(number, 1)
    os.dup2(number, 2)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if RAY_TOKEN.exists():  # as `ray start` does; ray.init does so only for "auto"
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray has all machines look for modules where it is started first: an older clone may lie there
    os.chdir(os.path.dirname(log))
    try:
        import ray  # it takes a while

        connection.send(NotReady(SILENT))
        _connect(ray, address)
        client = RayClient(connection, timeout_s)
        client.begin()
        client.serve()
    except PawprintError as error:
        connection.send(Refused(str(error)))


def _connect(ray: Any, address: str) -> None:
    """Join a cluster, to which Pawprint's code goes along.

    Raises:
        PawprintError: why that cannot be, and what to do.
    """
    try:
        ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"py_modules": [str(PACKAGE)]},
        )
    except Exception as error:  # Ray has many, and none that says which of these it is
        raise PawprintError(explain(error)) from error


def explain(error: Exception) -> str:
    """Why no connection was made, and what to do; Ray's words: see tests/test_private_sides.py."""
    text = one_line(error, 2000)
    versions = re.findall(r"(Ray|Python): (\S+)", text)
    if "Version mismatch" in text and len(versions) == 4:
        ray, python, own_ray, own_python = (version for _, version in versions)
        return (
            f"it runs Ray {ray} on Python {python}, this machine Ray {own_ray} on Python "
            f"{own_python}; install the same on all machines"
        )
    if "Could not find any running Ray instance" in text:
        return (
            "no cluster runs on this machine; `ray start --head` starts one, `ray start "
            "--address=HOST:PORT` joins one"
        )
    if "Failed to connect to Ray cluster" in text:
        return (
            "it lets nobody in from here: see by `ray status` that it runs, that this machine has "
            "joined it, and that RAY_AUTH_MODE and its token are the same on all machines"
        )
    return text[:300]
