"""What the server can be told, and how it says that it cannot start."""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys

import pytest
from served import ROOT, colours, serving

from pawprint.runner.errors import PawprintError
from pawprint.serving.settings import Settings, add_options, read_settings

# covers: R18


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pawprint", "serve", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_what_keeps_it_from_starting_is_one_line(tmp_path):
    missing = start("--model", str(tmp_path / "none"))
    assert missing.returncode != 0
    assert re.fullmatch(r"error: .*none: no such model; .*\n", missing.stderr)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = start("--model", str(colours()), "--port", port)
    assert re.fullmatch(rf"error: 127\.0\.0\.1:{port}: cannot listen there .*\n", busy.stderr)


def read(*arguments: str, **environment: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_options(parser, environment)
    return read_settings(parser.parse_args(arguments), environment)


def test_settings_come_from_options_then_from_the_environment():
    assert read() == Settings()
    assert read().host == "127.0.0.1"
    settings = read("--port", "9", PAWPRINT_PORT="8", PAWPRINT_QUEUE="7", PAWPRINT_SHADOW="true")
    assert (settings.port, settings.queue, settings.shadow) == (9, 7, True)
    assert read(PAWPRINT_API_KEY="12345678").api_key == "12345678"
    assert "12345678" not in repr(read(PAWPRINT_API_KEY="12345678"))


def test_a_key_is_the_same_from_a_file_and_from_the_environment(tmp_path, capsys):
    file = tmp_path / "key"
    file.write_text(" 12345678\n")
    assert read("--api-key-file", str(file)).api_key == "12345678"
    assert read(PAWPRINT_API_KEY=" 12345678\n").api_key == "12345678"
    assert read(PAWPRINT_API_KEY="").api_key == ""
    file.write_text("1234567\n")
    short = "expected a key of 8 characters or more, found 7; choose a longer one"
    with pytest.raises(PawprintError, match=f"^PAWPRINT_API_KEY: {short}$"):
        read(PAWPRINT_API_KEY="1234567\n")
    with pytest.raises(PawprintError, match=r"^PAWPRINT_API_KEY: expected .*, found 0; "):
        read(PAWPRINT_API_KEY=" ")
    with pytest.raises(SystemExit):
        read("--api-key-file", str(file))
    assert f"--api-key-file: {file}: {short}" in capsys.readouterr().err


def test_the_health_check_asks_no_proxy():
    def check(port: str) -> subprocess.CompletedProcess[str]:
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            dead = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environment = {"PAWPRINT_PORT": port, "HTTP_PROXY": dead, "http_proxy": dead}
        command = [sys.executable, "-m", "pawprint.serving.health"]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )

    with serving("--model", str(colours())) as server:
        port = server.address.rpartition(":")[2]
        assert check(port).returncode == 0
    gone = check(port)
    assert gone.returncode == 1
    assert re.fullmatch(rf"error: http://127\.0\.0\.1:{port}/healthz: .*refused.*\n", gone.stderr)


def test_warnings_are_json_and_none_is_about_a_picture():
    code = """
import io, warnings
from PIL import Image
from pawprint.serving.logs import start_logging
start_logging(text=False)
file = io.BytesIO()
Image.new("RGB", (5, 5)).save(file, "PNG")
Image.MAX_IMAGE_PIXELS = 20
Image.open(file)  # a bomb, to Pillow
warnings.warn("of another kind")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    (entry,) = map(json.loads, done.stderr.splitlines())
    assert entry["level"] == "warning"
    assert "of another kind" in entry["message"]


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["--port", "70000"], {}, "--port: expected a whole number from 0 to 65535, found '70000'"),
        ([], {"PAWPRINT_TIMEOUT_S": "soon"}, "--timeout-s: expected a number from 0.1 to 3600"),
        (["--shadow", "maybe"], {}, "--shadow: expected true or false, found 'maybe'"),
        (["--api-key-file", "/no/file"], {}, "--api-key-file: /no/file: cannot be read"),
        (["--timeout-s", "nan"], {}, "--timeout-s: expected a number"),
    ],
)
def test_wrong_settings_are_named(arguments, environment, text, capsys):
    with pytest.raises(SystemExit):
        read(*arguments, **environment)
    assert text in capsys.readouterr().err
