"""The container file, followed step by step in an empty directory: there may be no engine here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import httpx
import pytest
from served import ROOT, colours, picture

# covers: R18

STEPS = [
    line.split(maxsplit=1)
    for line in (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def steps(kind: str) -> list[str]:
    return [text for name, text in STEPS if name == kind]


def test_it_is_small_safe_and_watched():
    names = [name for name, _ in STEPS]
    (base,) = steps("FROM")
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert steps("USER") not in ([], ["root"], ["0"])
    assert names.index("USER") < names.index("CMD")
    assert len(steps("HEALTHCHECK")) == 1
    locked = (ROOT / "requirements-serve.txt").read_text()
    for large in ("tensorflow", "keras", "dvc", "matplotlib", "onnx", "scipy"):
        assert not re.search(f"^{large}", locked, re.MULTILINE)


def test_its_packages_are_the_pipelines_own():
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))

    assert versions("requirements-serve.txt") <= versions("requirements.txt")


def context(directory: Path) -> Path:
    """What an engine is given: the project, with a small model as the exported one."""
    shutil.copytree(
        ROOT / "pawprint", directory / "pawprint", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("requirements-serve.txt", "LICENSE"):
        shutil.copy(ROOT / name, directory)
    shutil.copytree(ROOT / "LICENSES", directory / "LICENSES")
    shutil.copytree(colours(), directory / "models/export")
    return directory


def install(python: Path, command: str, directory: Path) -> None:
    """Run a `pip install` of the container file, or skip where no registry answers."""
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run = subprocess.run(
        [*pip, *command.split()[1:]],
        cwd=directory,
        env={**os.environ, "PIP_NO_COMPILE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if run.returncode and re.search("onnect|resolve|timed out|No matching", run.stderr):
        pytest.skip(f"pip reaches no package registry: {run.stderr.splitlines()[-1]}")
    assert run.returncode == 0, run.stderr


def test_the_server_and_predict_run_from_what_the_file_lays_out(tmp_path):
    given, work = context(tmp_path / "context"), tmp_path / "work"
    work.mkdir()
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "PAWPRINT_PORT": "0"}
    commands: dict[str, list[str]] = {}
    for name, text in STEPS:
        match name:
            case "COPY":
                copy(given, work, text.split())
            case "RUN" if text.startswith("pip "):
                install(python, text, work)
            case "ENV":
                environment |= dict(pair.split("=", 1) for pair in text.split())
            case "CMD":
                commands["serve"] = json.loads(text)
            case "HEALTHCHECK":
                commands["health"] = json.loads(text.partition("CMD ")[2])
    size = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    assert size < 2_000_000  # the code, licences and a small model, nothing else
    texts = {file.name for file in (ROOT / "LICENSES").iterdir()}
    assert {file.name for file in (work / "LICENSES").iterdir()} == texts
    assert (work / "LICENSE").read_text().startswith("MIT License")

    with subprocess.Popen(
        commands["serve"], cwd=work, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            port = json.loads(line)["port"]
            check = {**environment, "PAWPRINT_PORT": str(port)}
            await_ready(port)
            answer = httpx.post(
                f"http://127.0.0.1:{port}/v1/predict",
                files={"files": picture("green")},
                trust_env=False,
            )
            assert answer.json()["results"][0]["predictions"][0]["class"] == "green"
            health = [str(python), *commands["health"][1:]]
            assert subprocess.run(health, cwd=work, env=check, timeout=20).returncode == 0
        finally:
            server.terminate()
        assert server.wait(20) == 0
    assert subprocess.run(health, cwd=work, env=check, timeout=20).returncode == 1

    (tmp_path / "x.png").write_bytes(picture("blue"))
    command = [str(python), "-m", "pawprint", "predict", str(tmp_path / "x.png"), "--top", "1"]
    options = {"cwd": work, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([*command, "--gradcam", str(tmp_path / "maps")], timeout=60, **options)
    assert re.fullmatch(r"\S+x\.png: blue \d\d\.\d %.*\n", done.stdout), done.stderr


def copy(source: Path, target: Path, words: list[str]) -> None:
    *names, place = words
    for name in names:
        origin = source / name
        if origin.is_dir():
            shutil.copytree(origin, target / place)
        else:
            (target / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, target / place)


def await_ready(port: int) -> None:
    deadline = time.monotonic() + 30
    while httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
