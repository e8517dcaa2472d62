"""Logs: for programs as JSON, one object a line; for whoever looks on, as readable lines."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pawprint.serving")
REQUEST = "request"  # the message of the line of a request


class JsonFormatter(logging.Formatter):
    """A record as one line: time, level, message, and the fields given as ``extra={"fields": …}``.

    An error's stack stays within the line, as one of its fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["stack"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


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
        stack = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{time} {level}{text}{stack}"


def _describe_request(fields: Mapping[str, Any]) -> str:
    count = fields["pictures"]
    parts = [
        f"{fields['method']} {fields['path']} {fields['status']}",
        f"{1000 * fields['seconds']:.0f} ms",
        *([f"{count} picture{'s' * (count != 1)}"] if count else []),
    ]
    if fields["status"] >= 400:  # whoever asks about it knows its id
        parts += [f"refused: {fields['reason']}"] if "reason" in fields else []
        parts.append(f"request {fields['request_id']}")
    return ", ".join(parts)


def start_logging(text: bool) -> None:
    """Send all logs and warnings of this process to standard error.

    Without those about pictures: threads that hide them undo each other's work.

    Args:
        text: as readable lines; as JSON otherwise.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
