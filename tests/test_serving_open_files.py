"""The limit on open files: raised if it can be, kept to if not, and never the end of the server."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from resource import RLIMIT_NOFILE, setrlimit

import pytest
from living import wait_until
from served import ROOT, Running, colours, connected, get_alone, picture, serving

from pawprint.serving.logs import REQUEST

# covers: B5, R18

ROOM = """
import resource, sys
from pawprint.serving.open_files import make_room
room = make_room(int(sys.argv[1]), 4)
print(room.connections, room.spare, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limited(soft: int, hard: int, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=partial(setrlimit, RLIMIT_NOFILE, (soft, hard)),
    )


@pytest.mark.parametrize(
    ("wanted", "soft", "hard", "expected"),
    [
        (512, 256, 4096, "512 64 768 4096"),  # raised, and no further than needed
        (512, 1000, 4096, "512 64 1000 4096"),
        (512, 256, 300, "188 16 300 300"),
        (16, 256, 300, "16 64 272 300"),
        (16, 130, 130, "16 16 130 130"),
        (2, 114, 114, "2 16 114 114"),
    ],
)
def test_the_limit_is_raised_as_far_as_needed(wanted, soft, hard, expected):
    done = limited(soft, hard, "-c", ROOM, str(wanted))
    assert done.stdout.strip() == expected, done.stderr


def test_too_few_files_for_a_server_are_refused():
    options = ("--model", str(colours()), "--decoders", "4")
    done = limited(100, 100, "-m", "pawprint", "serve", *options)
    assert done.returncode != 0
    text = "open files: expected a limit of 120 or more, found 100; raise it (ulimit -n)"
    assert done.stderr == f"error: {text}\n"


def works(server: Running) -> bool:
    answer = server.predict(picture("red"))
    return get_alone(server, "/healthz")[0] == answer.status_code == 200


def test_more_idle_connections_than_open_files_leave_the_server_at_work():
    options = ("--model", str(colours()), "--decoders", "4")
    with serving(*options, open_files=200) as server, ExitStack() as stack:
        (warning,) = (entry["message"] for entry in server.log if entry["level"] == "warning")
        assert warning == (
            "open files: too few are allowed for --max-connections 512, which is 88 now; raise the "
            "limit (ulimit -n) to 768"
        )
        for _ in range(220):
            stack.enter_context(connected(server))
        assert wait_until(lambda: get_alone(server, "/healthz")[0] == 200, 5)
        server.client.close()
        for _ in range(5):
            assert get_alone(server, "/healthz")[0] == get_alone(server, "/v1/model")[0] == 200
        assert len([entry for entry in server.log if entry["message"] != REQUEST]) < 20
        assert all(entry["level"] in ("info", "warning") for entry in server.log)


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_server_that_runs_out_of_files_waits_and_goes_on():
    """Which it should not, but others may have taken all that the system has."""
    with serving("--model", str(colours())) as server, ExitStack() as stack:
        pid = server.process.pid
        assert works(server)
        few = len(os.listdir(f"/proc/{pid}/fd")) + 2
        before, used_s = resource.prlimit(pid, RLIMIT_NOFILE), cpu_s(pid)
        resource.prlimit(pid, RLIMIT_NOFILE, (few, before[1]))
        lines = len(server.log)
        for _ in range(30):
            stack.enter_context(connected(server))
        time.sleep(1.5)
        told = [entry["message"].partition("\n")[0] for entry in server.log[lines:]]
        told = [message for message in told if message != REQUEST]
        assert 1 <= len(told) <= 5
        assert set(told) == {"socket.accept() out of system resource"}
        assert cpu_s(pid) - used_s < 1
        resource.prlimit(pid, RLIMIT_NOFILE, before)
        assert works(server)
