"""What the log says, how often, and of whom."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
from living import wait_until
from served import ROOT, colours, serving

from pawprint.serving.logs import REQUEST, JsonFormatter, Ration, TextFormatter

# covers: R18

SECOND = 1_700_000_000


def record(
    at_s: float, message: str = "x", level: int = logging.INFO, **fields: Any
) -> logging.LogRecord:
    made = logging.LogRecord("some", level, "", 0, message, (), None)
    made.created = SECOND + at_s
    made.fields = fields
    return made


def passed(ration: Ration, *records: logging.LogRecord) -> list[int | None]:
    """For each record the number of those left out before it; None: it is one of them."""
    return [one.left_out if ration.filter(one) else None for one in records]  # type: ignore[attr-defined]


def test_lines_of_one_kind_are_limited_and_those_left_out_are_counted():
    ration = Ration(2)
    assert passed(ration, *(record(i / 10) for i in range(5))) == [0, 0, None, None, None]
    assert passed(ration, record(1), record(1.1), record(1.2)) == [3, 0, None]
    assert passed(ration, record(9), record(9)) == [1, 0]


def test_a_kind_is_a_message_its_level_and_the_status_of_a_request():
    ration = Ration(1)
    one = [
        record(0, "a"),
        record(0, "b"),
        record(0, "a", logging.ERROR),
        record(0, REQUEST, status=200),
        record(0, REQUEST, status=503),
        record(0, "first\nobject at 0x1"),
    ]
    assert passed(ration, *one) == [0] * 6
    assert passed(ration, *one, record(0, "first\nobject at 0x2")) == [None] * 7
    assert passed(ration, record(1, REQUEST, status=503)) == [1]


@pytest.mark.parametrize("left_out", [0, 3])
def test_both_forms_say_how_many_were_left_out(left_out):
    line = record(0, "it happened")
    line.left_out = left_out
    assert json.loads(JsonFormatter().format(line)).get("left_out", 0) == left_out
    text = TextFormatter().format(line)
    end = r" \(3 more like this were left out before it\)" if left_out else ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d it happened" + end, text)


def test_all_logs_of_the_process_are_limited():
    code = """
import logging
from pawprint.serving.logs import start_logging
start_logging(text=False, most=3)
for name in ("asyncio", "anything"):
    for i in range(1000):
        logging.getLogger(name).error("the %dth", i)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert 6 <= len(done.stderr.splitlines()) <= 12  # they may be of two seconds


def test_a_flood_of_requests_is_a_few_lines():
    with serving("--model", str(colours()), "--log-lines-per-s", "5") as server:
        for _ in range(100):
            assert server.get("/healthz").status_code == 200
        assert server.get("/nowhere").status_code == 404
        assert wait_until(lambda: server.requests()[-1]["status"] == 404, 20)
        seen = [entry for entry in server.requests() if entry["path"] == "/healthz"]
        assert len(seen) + sum(entry.get("left_out", 0) for entry in seen) <= 100
        assert len(seen) < 50


@pytest.mark.parametrize(("options", "peer"), [((), None), (("--log-peer",), "127.0.0.1")])
def test_addresses_are_in_the_log_only_if_they_are_wanted(options, peer):
    with serving("--model", str(colours()), *options) as server:
        entry = server.requests()[0]
        assert entry.get("peer") == peer
        fields = {name: entry[name] for name in entry if name not in ("time", "level", "message")}
    text = TextFormatter().format(record(0, REQUEST, **fields))
    assert ("from 127.0.0.1" in text) == (peer is not None)
