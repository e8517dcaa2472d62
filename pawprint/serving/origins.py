"""Which names the server answers to, and whose pages may ask it through a browser."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

from pawprint.serving.settings import ANY_HOST, Settings

HOST = re.compile(r"(?P<name>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?")
USUAL_PORTS = {"http": ":80", "https": ":443"}  # browsers leave them out
OWN_SITES = ("same-origin", "none")  # of Sec-Fetch-Site: the server's page, or its user
COSTLY = ("/v1/", "/metrics")  # what costs work, also where nobody can read the answer


class Origins:
    """Tells foreign requests from others.

    Args:
        settings: `allowed_hosts` and `cors_origins`.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = settings.host_names
        self.listed = settings.allowed_origins

    def find_host_fault(self, headers: Headers) -> tuple[int, str] | None:
        """A status and a text where a request is for another host, or says none.

        A page may have a name of its own that leads to this machine: then its browser takes the
        server for a part of the page. The name tells.
        """
        hosts = headers.getlist("host")
        found = HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if found is None:
            return 400, "Host: expected one name, or one address, with or without a port"
        if ANY_HOST in self._hosts or self._hosts & _patterns(found["name"]):
            return None
        return 421, f"expected a Host that --allowed-hosts lists, found {found['name']}"

    def is_foreign(self, method: str, path: str, headers: Headers) -> bool:
        """Whether a page of an origin that is not listed asks for what costs work.

        Browsers say which page asks; programs say nothing, and are never foreign. What a page only
        shows or leads to, such as this server's own page, may be asked for from everywhere.
        """
        if method in ("GET", "HEAD") and not path.startswith(COSTLY):
            return False
        origin = headers.get("origin")
        if origin in self.listed:
            return False
        if headers.get("sec-fetch-site", "none") not in OWN_SITES:
            return True
        return origin is not None and not _is_own(origin, headers.get("host", ""))


def _patterns(name: str) -> set[str]:
    """A host's name, and what stands for it: that of ``a.b.c`` is ``*.b.c`` and ``*.c``, too."""
    parts = name.split(".")
    return {name, *("*." + ".".join(parts[i:]) for i in range(1, len(parts)))}


def _is_own(origin: str, host: str) -> bool:
    """Whether an origin is that of this host; behind a proxy with TLS its scheme is another one."""
    scheme, _, place = origin.partition("://")
    return scheme in USUAL_PORTS and host.lower().removesuffix(USUAL_PORTS[scheme]) == place
