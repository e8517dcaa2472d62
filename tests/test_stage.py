# covers: B3
"""How a stage ends: with one line, with its workers, and with the DVC that started it."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from living import descendants, living, wait_until

from pawprint.runner import processes, stage
from pawprint.runner.errors import describe_os_error
from pawprint.runner.params_file import load_params
from pawprint.runner.stage import unfinished_work

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

# Says "ready" once it works; two workers sleep meanwhile
STAGE = """
import sys, time
from pathlib import Path
from pawprint.runner import processes
from pawprint.runner.stage import run_stage

def main(params):
    with processes.worker_pool("sleeping") as pool:
        pool.submit(int).result()
        work = pool.map(time.sleep, [60, 60, 60])
        Path(sys.argv[1]).write_text("ready")
        list(work)

if __name__ == "__main__":
    if "no-prctl" in sys.argv:
        processes._ask_kernel = lambda: False
    run_stage(main)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "slow_stage.py"
    path.write_text(STAGE, encoding="utf-8")
    return path


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test has started; what is left of them ends with it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        for pid in descendants(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate()


def environment(**values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}
    return {**kept, "PYTHONPATH": str(ROOT), **values}


def start(command: list[str], **values: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(**values),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@linux
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_stage_ends_with_one_line_and_its_workers(script, tmp_path, started, sent):
    stage = start([sys.executable, str(script), str(tmp_path / "ready")])
    started.append(stage)
    assert wait_until((tmp_path / "ready").exists, 20)
    family = descendants(stage.pid)
    assert len(family) > 2
    os.killpg(stage.pid, sent)  # as a terminal does: to the workers too
    _, errors = stage.communicate(timeout=10)
    assert errors == "error: interrupted; `dvc repro` starts this stage again\n"
    assert stage.returncode == 1
    assert wait_until(lambda: not living(family), 3)


# Keeps what its second argument names; then Ctrl-C is pressed, within the work or before it
STOPPED = """
import sys
from pathlib import Path
from pawprint.runner import processes, stage

def main(params):
    if sys.argv[1] == "before":
        raise KeyboardInterrupt
    with stage.unfinished_work("train_head", params) as work:
        if len(sys.argv) > 2:
            (work / sys.argv[2]).write_text("done")
        raise KeyboardInterrupt

if __name__ == "__main__":
    stage.fingerprint = lambda name, params: "key"
    stage.run_stage(main)
"""


def test_a_stopped_stage_says_whether_it_continues(tmp_path):
    script = tmp_path / "train_head.py"  # a stage bears its script's name
    script.write_text(STOPPED, encoding="utf-8")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / ".resume/finetune/key").mkdir(parents=True)
    (tmp_path / ".resume/finetune/key/epoch_00001.checkpoint").write_text("of another stage")

    def stop(*arguments: str) -> str:
        command = [sys.executable, str(script), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        return done.stderr.removeprefix("error: interrupted; `dvc repro` ")

    assert stop("before") == "starts this stage again\n"
    assert stop("within") == "starts this stage again\n"
    assert stop("within", "cut_short.tmp") == "starts this stage again\n"
    assert stop("within", "epoch_00001.checkpoint") == "continues this stage where it was\n"
    assert stop("before") == "continues this stage where it was\n"


# What DVC does: it runs the command by a shell, which may or may not replace itself by it
PARENT = """
import subprocess, sys
subprocess.Popen(sys.argv[1:]).wait()
"""


@linux
@pytest.mark.parametrize("shell", ["execs", "stays"])
@pytest.mark.parametrize("kernel", ["prctl", "no-prctl"])
def test_a_stage_and_its_workers_die_with_dvc(script, tmp_path, started, shell, kernel):
    command = shlex.join([sys.executable, str(script), str(tmp_path / "ready"), kernel])
    if shell == "stays":
        staying = tmp_path / "sh"
        staying.write_text('#!/bin/sh\neval "$2"\nexit $?\n', encoding="utf-8")
        staying.chmod(0o755)
    executable = str(tmp_path / "sh") if shell == "stays" else "/bin/sh"
    dvc = start([sys.executable, "-c", PARENT, executable, "-c", command], DVC_STAGE="slow")
    started.append(dvc)
    assert wait_until((tmp_path / "ready").exists, 20)
    family = descendants(dvc.pid)
    assert len(family) > 3
    dvc.kill()
    dvc.wait()
    assert wait_until(lambda: not living(family), 3), living(family)


@linux
def test_a_stage_started_by_hand_outlives_its_terminal(script, tmp_path, started):
    command = [sys.executable, str(script), str(tmp_path / "ready")]
    terminal = start([sys.executable, "-c", PARENT, *command])
    assert wait_until((tmp_path / "ready").exists, 20)
    family = descendants(terminal.pid) - {terminal.pid}
    terminal.kill()
    terminal.wait()
    try:
        assert not wait_until(lambda: living(family) != family, 0.5)
    finally:
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        terminal.communicate()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "; free some space, then run `dvc repro` again"),
        (errno.EDQUOT, "; free some space, then run `dvc repro` again"),
        (
            *(errno.EROFS,),
            "; allow this user to read and write there, then run `dvc repro` again",
        ),
        (errno.EIO, ""),
    ],
)
def test_an_error_of_the_system_names_the_path_and_what_to_do(code, remedy):
    error = OSError(code, os.strerror(code), "data/processed")
    assert describe_os_error(error, "dvc repro") == f"data/processed: {os.strerror(code)}{remedy}"


@pytest.fixture
def work_under(tmp_path, monkeypatch):
    """Unfinished work of the features under a key that the test chooses."""
    monkeypatch.chdir(tmp_path)

    def work_under(key):
        monkeypatch.setattr(stage, "fingerprint", lambda name, params: key)
        return unfinished_work("features", load_params(ROOT / "params.yaml"))

    return work_under


def test_unfinished_work_is_there_again_until_it_is_finished(work_under):

    def stop_half_way() -> None:
        with work_under("key") as work:
            (work / "00000.npy").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_half_way()
    with work_under("key") as work:
        assert work == Path(".resume/features/key")
        assert (work / "00000.npy").read_text() == "half"
    assert list(Path(".resume").iterdir()) == []


def test_work_under_another_key_is_deleted_and_that_of_other_stages_kept(work_under):
    Path(".resume/features/old").mkdir(parents=True)
    Path(".resume/preprocess/old").mkdir(parents=True)
    with work_under("new") as work:
        assert list(work.parent.iterdir()) == [work]
        assert Path(".resume/preprocess/old").is_dir()


def test_a_stage_on_a_cluster_uses_the_cores_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine has others for other tasks."""
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: set(range(64)))
    assert processes.available_cores() == 64
    monkeypatch.setenv(processes.ON_CLUSTER, "2")
    assert processes.available_cores() == 2
