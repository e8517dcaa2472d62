"""Logs: for programs as JSON, one object a line; for whoever looks on, as readable lines."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pawprint.serving")
REQUEST = "request"  # the message of the line of a request

_Kind = tuple[str, int, str, int | None]


class Ration(logging.Filter):
    """Lets so many lines of a kind through in a second, and tells the next one of the others.

    A kind is a logger, a level, a message before its arguments are filled in, and the status of a
    request. What was left out is counted in `left_out` of the next record of the kind.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._second = 0
        self._passed: Counter[_Kind] = Counter()  # in this second
        self._left_out: Counter[_Kind] = Counter()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "fields", {}).get("status")
        # asyncio's have the names of objects further down
        kind = (record.name, record.levelno, str(record.msg).partition("\n")[0], status)
        with self._lock:
            if self._second != int(record.created):
                self._second = int(record.created)
                self._passed.clear()
            if self._passed[kind] >= self._most:
                self._left_out[kind] += 1
                return False
            self._passed[kind] += 1
            record.left_out = self._left_out.pop(kind, 0)
        return True


_encode = json.JSONEncoder(ensure_ascii=False).encode


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, message, and the fields given as ``extra={"fields": …}``.

    An error's stack stays within the line, as one of its fields; so does the number of lines of its
    kind that were left out before it, if there are any.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        left_out = getattr(record, "left_out", 0)
        if left_out:
            entry["left_out"] = left_out
        if record.exc_info:
            entry["stack"] = self.formatException(record.exc_info)
        return _encode(entry)


class TextFormatter(logging.Formatter):
    """A record as a line to read: ``09:26:53 POST /v1/predict 200, 12 ms, 1 picture``.

    Other records have their level, where that is not the usual one, and their fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        if record.msg == REQUEST:
            text = _describe_request(fields)
        else:
            told = ", ".join(f"{name} {value}" for name, value in fields.items())
            text = record.getMessage() + (f": {told}" if told else "")
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        left_out = getattr(record, "left_out", 0)
        more = f" ({left_out} more like this were left out before it)" if left_out else ""
        stack = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{time} {level}{text}{more}{stack}"


def _describe_request(fields: Mapping[str, Any]) -> str:
    count = fields["pictures"]
    parts = [
        f"{fields['method']} {fields['path']} {fields['status']}",
        f"{1000 * fields['seconds']:.0f} ms",
        *([f"{count} picture{'s' * (count != 1)}"] if count else []),
        *([f"from {fields['peer']}"] if "peer" in fields else []),
    ]
    if fields["status"] >= 400:  # whoever asks about it knows its id
        parts += [f"refused: {fields['reason']}"] if "reason" in fields else []
        parts.append(f"request {fields['request_id']}")
    return ", ".join(parts)


def start_logging(text: bool, most: int) -> None:
    """Send all logs and warnings of this process to standard error.

    Without those about pictures: threads that hide them undo each other's work.

    Args:
        text: as readable lines; as JSON otherwise.
        most: lines of one kind in a second.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Ration(most))
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
