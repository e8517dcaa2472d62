"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=PackageLoader("pawprint.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render_report(values: Mapping[str, Any]) -> str:
    """The page, as HTML; the same values are the same text.

    Names are escaped wherever they stand. If one were not, it could still load nothing: a script
    runs only if it is the page's own, by its hash.

    Args:
        values: what ``templates/report.html`` names.
    """
    script = _read("decide.js")
    style = _read("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    template = _ENVIRONMENT.get_template("report.html")
    return template.render(values, script=script, style=style, policy=policy)


def _read(name: str) -> str:
    """A file of the page as it is, so that its hash is that of what stands in the page."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, name)[0]
