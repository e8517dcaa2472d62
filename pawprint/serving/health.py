"""Asks a server on this machine whether it is alive; the health check of its container."""

from __future__ import annotations

import os
import sys
import urllib.request

TIMEOUT_S = 2


def main() -> int:
    """0 if the server on PAWPRINT_PORT (8000 by default) is alive, 1 with one line if not."""
    address = f"http://127.0.0.1:{os.environ.get('PAWPRINT_PORT', '8000')}/healthz"
    try:
        # A proxy, which containers are often told of, knows another 127.0.0.1
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=TIMEOUT_S):
            return 0
    except (OSError, ValueError) as error:
        print(f"error: {address}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
