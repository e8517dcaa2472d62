"""What the server can be told, and how it says that it cannot start."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

import httpx
import pytest
from living import wait_until
from served import ROOT, colours, picture, serving
from terminals import Watching, in_terminal

from pawprint.runner.errors import PawprintError
from pawprint.serving.logs import REQUEST, TextFormatter
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


@pytest.mark.parametrize(
    "wrong", ["pässword1", "two words", "12345678\x0090", "a\tb\tc\td\te", "\ufeff12345678"]
)
def test_a_key_can_be_sent_in_a_header(wrong, tmp_path, capsys):
    file = tmp_path / "key"
    file.write_text(wrong, encoding="utf-8")
    text = "expected a key of ASCII letters, digits and signs, for it is sent in a header; found "
    with pytest.raises(PawprintError, match=f"^PAWPRINT_API_KEY: {text}.*; choose another one$"):
        read(PAWPRINT_API_KEY=wrong)
    with pytest.raises(SystemExit):
        read("--api-key-file", str(file))
    error = capsys.readouterr().err
    assert f"--api-key-file: {file}: {text}" in error
    assert wrong not in error


def test_hosts_are_those_of_this_machine_by_default():
    own = {"localhost", "*.localhost", "127.0.0.1", "[::1]"}
    for host in ("127.0.0.1", "localhost", "::1"):
        assert own <= read("--host", host).host_names <= {*own, host}
    assert read("--host", "127.0.0.9").host_names == {*own, "127.0.0.9"}
    for host in ("0.0.0.0", "::", "192.168.1.5", "pictures.example"):
        assert read("--host", host).host_names == {"*"}


def test_hosts_are_written_as_browsers_write_them():
    given = "App.example, *.b.example,10.0.0.5,::1,[2001:DB8::0001],"
    assert read("--allowed-hosts", given).host_names == {
        "app.example",
        "*.b.example",
        "10.0.0.5",
        "[::1]",
        "[2001:db8::1]",
    }
    assert read(PAWPRINT_ALLOWED_HOSTS="*").host_names == {"*"}


@pytest.mark.parametrize(
    "wrong",
    [
        "https://a.example",
        "a.example:80",
        "a.example/",
        "a*.example",
        "b\xfccher.example",
        ".",
    ],
)
def test_what_is_no_host_is_not_taken(wrong, capsys):
    with pytest.raises(SystemExit):
        read("--allowed-hosts", wrong)
    assert "--allowed-hosts: expected hosts without scheme and port" in capsys.readouterr().err


def test_origins_are_written_as_browsers_write_them():
    given = "https://A.example:443, http://localhost:3000,http://[::1]:80,chrome-extension://abc,"
    assert read("--cors-origins", given).allowed_origins == {
        "https://a.example",
        "http://localhost:3000",
        "http://[::1]",
        "chrome-extension://abc",
    }
    assert read().allowed_origins == frozenset()


@pytest.mark.parametrize(
    "wrong",
    [
        "a.example",
        "https://a.example/",
        "https://a.example/app",
        "https://*.a.example",
        "https://ann@a.example",
        "https://bücher.example",
        "https://a.example:http",
        "https://",
        "null",
        "https://a.example b",
    ],
)
def test_what_is_no_origin_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        read("--cors-origins", wrong)
    assert "--cors-origins: expected origins, scheme://host or" in capsys.readouterr().err


TIME = r"\d\d:\d\d:\d\d "


@contextmanager
def served_in_terminal(*arguments: str, **environment: str) -> Iterator[Watching]:
    command = [sys.executable, "-m", "pawprint", "serve", "--model", str(colours())]
    command += ["--port", "0", "--drain-s", "0", *arguments]
    with in_terminal(command, ROOT, {**os.environ, **environment}) as terminal:
        yield terminal
        terminal.process.send_signal(signal.SIGINT)


def test_in_a_terminal_it_says_where_it_is_and_writes_lines_to_read():
    with served_in_terminal(PAWPRINT_API_KEY="opensesame") as terminal:
        assert wait_until(lambda: "Ctrl-C stops it\n" in terminal.text, 60)
        found = re.match(
            r"Pawprint serves colours; its API key is asked for\n"
            r"  (http://127\.0\.0\.1:\d+)  the page; /docs describes the requests\n"
            r"  Ctrl-C stops it\n",
            terminal.text,
        )
        assert found, terminal.text
        key = {"Authorization": "Bearer opensesame"}
        with httpx.Client(base_url=found[1], trust_env=False, timeout=60) as client:
            assert wait_until(lambda: client.get("/readyz").status_code == 200, 60)
            client.post("/v1/predict", files={"files": picture("red")}, headers=key)
            client.get("/v1/model", headers={"X-Request-ID": "order-66"})
            assert wait_until(lambda: "order-66" in terminal.text, 10)
    lines = terminal.text.removeprefix(found[0]).splitlines()
    first, second = (line for line in lines if "predict" in line or "order-66" in line)
    assert re.fullmatch(TIME + r"POST /v1/predict 200, \d+ ms, 1 picture", first)
    assert re.fullmatch(TIME + r"GET other 401, \d+ ms, refused: key, request order-66", second)
    assert re.fullmatch(TIME + "stopped", lines[-1])
    assert terminal.process.returncode == 0


def test_the_form_of_the_log_can_be_chosen():
    with served_in_terminal("--log", "json") as terminal:
        assert wait_until(lambda: '"listening"' in terminal.text, 60)
    assert [json.loads(line)["message"] for line in terminal.text.splitlines()][-1] == "stopped"
    command = [sys.executable, "-m", "pawprint", "serve", "--model", str(colours()), "--port", "0"]
    with Popen([*command, "--log", "text"], cwd=ROOT, stderr=PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline() == "Pawprint serves colours\n"
        process.terminate()


def test_a_fault_in_a_line_to_read_has_its_stack_and_its_id():
    try:
        raise RuntimeError("of a model")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, REQUEST, (), sys.exc_info())
    record.fields = {"method": "GET", "path": "/x", "status": 500, "seconds": 0.1}
    record.fields |= {"pictures": 2, "request_id": "f1"}  # type: ignore[attr-defined]
    first, *stack = TextFormatter().format(record).splitlines()
    assert re.fullmatch(TIME + "error: GET /x 500, 100 ms, 2 pictures, request f1", first)
    assert stack[-1] == "RuntimeError: of a model"
    other = logging.LogRecord("x", logging.WARNING, "", 0, "%s is old", ("it",), None)
    assert re.fullmatch(TIME + "warning: it is old", TextFormatter().format(other))


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
start_logging(text=False, most=9)
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
        (["--log", "xml"], {}, "--log: expected auto, json or text, found 'xml'"),
        (
            [],
            {"PAWPRINT_CORS_ORIGINS": "*"},
            "--cors-origins: * would let every page that somebody",
        ),
        (["--cors-origins", "https://a.example,*"], {}, "list the origins, such as https://"),
    ],
)
def test_wrong_settings_are_named(arguments, environment, text, capsys):
    with pytest.raises(SystemExit):
        read(*arguments, **environment)
    assert text in capsys.readouterr().err
