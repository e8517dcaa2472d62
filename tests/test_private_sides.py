# covers: C2
"""Where Pawprint relies on more than a library promises: an upgrade that breaks it fails here."""

from __future__ import annotations

import json
import subprocess
import sys

from servers import Reply, kaggle_environment, serve

KAGGLE_CHILD = """
import json
from pathlib import Path
from requests.adapters import HTTPAdapter
from servers import data_params
from pawprint.runner.errors import KaggleError
from pawprint.sources import kaggle
send, sent = HTTPAdapter.send, []
def record(self, request, **options):
    sent.append([request.method, options["timeout"]])
    return send(self, request, **options)
HTTPAdapter.send = record
kaggle.RETRIES = 0
failures = []
for _ in range(2):
    try:
        kaggle.download(data_params(source="kaggle", timeout_s=7.5), Path("kept"))
    except KaggleError as error:
        failures.append(str(error))
print(json.dumps([sent, failures, HTTPAdapter.send is record]))
"""


def test_every_request_of_kaggles_client_passes_through_the_patched_adapter(tmp_path):
    """`pawprint.sources.kaggle._limits` replaces `requests.adapters.HTTPAdapter.send` meanwhile.

    It is the only place that all requests of the client pass, and there is no public one: the
    client asks Kaggle already when it is imported, opens sessions of its own, continues a download
    by `requests.request`, and lets nobody set a timeout for any but the last. Were a request to go
    another way, a silent server would stop a run for ever; here one would be missing.
    """
    replies = {"/dogs-vs-cats.zip": Reply(bytes(2_000_000), cuts=[1_500_000])}
    with serve(replies) as server:
        child = subprocess.run(
            [sys.executable, "-c", KAGGLE_CHILD],
            cwd=tmp_path,
            env=kaggle_environment(tmp_path, server.address, {"KAGGLE_API_TOKEN": "good-token"}),
            capture_output=True,
            text=True,
            timeout=50,
        )
    assert child.returncode == 0, child.stderr
    sent, failures, restored = json.loads(child.stdout)
    assert [method for method, _ in sent] == [method for method, _, _ in server.requests]
    assert {timeout for _, timeout in sent} == {7.5}
    asked = [path.rpartition("/")[2] for _, path, _ in server.requests]
    assert asked[:2] == ["IntrospectToken"] * 2, "expected a request at import, and one to sign in"
    assert server.ranges_of("/dogs-vs-cats.zip") == ["", "", f"bytes={1 << 20}-"]
    assert len(failures) == 1, "expected the first download to break off, the second to continue it"
    assert "broke off" in failures[0]
    assert restored
