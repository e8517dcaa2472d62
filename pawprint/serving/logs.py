"""Logs as JSON, one object a line."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("pawprint.serving")


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


def start_logging() -> None:
    """Send all logs and warnings of this process to standard error, as JSON.

    Without those about pictures: threads that hide them undo each other's work.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
