"""Measures the server under load, against the plain way to serve the same model.

The plain way is bench/plain_server.py. Both run on this machine, each with one worker of uvicorn;
wrk, on the same cores, drives them in turn, several times, with the same pictures. Writes load.json
and load.md. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request
from zipfile import ZipFile

from bench.load_report import OURS, Runs, describe_runs, render_markdown
from bench.plain_server import CALLS
from bench.servers import ROOT, get, run_server
from bench.wrk import BOUNDARY, find_wrk, make_form, run_wrk, write_forms
from pawprint.inference.exported import CARD
from pawprint.runner.errors import PawprintError
from pawprint.runner.files import atomic_write
from pawprint.runner.params_file import load_params
from pawprint.sources.fetch import fetch
from pawprint.storage.tables import write_json

SAMPLE = "sample"
COMPARED = 8  # pictures that all servers must answer alike before they are measured
TOLERANCE = 1e-3  # of a probability
WARM_UP_CLIENTS, WARM_UP_S = 16, 3.0


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument(
        "--model",
        type=Path,
        default=ROOT / "models/export",
        help="exported model, a directory (default: models/export)",
    )
    parser.add_argument(
        "--keras",
        type=Path,
        help="the same model as a .keras file (default: that of its name in models/)",
    )
    parser.add_argument(
        "--pictures", default=SAMPLE, help="a zip or folder, or sample: drawn ones (default)"
    )
    parser.add_argument("--count", type=int, default=200, help="of pictures (default: 200)")
    parser.add_argument("--seconds", type=int, default=15, help="of a measurement (default: 15)")
    parser.add_argument("--turns", type=int, default=2, help="of all measurements (default: 2)")
    parser.add_argument(
        "--clients", default="1,4,16,64", help="concurrent requests (default: 1,4,16,64)"
    )
    parser.add_argument(
        "--calls",
        default="predict,predict_on_batch",
        help=f"how the plain way asks Keras, some of: {', '.join(CALLS)} (default: "
        "predict,predict_on_batch); the bars are about the first",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench", help="directory of the results (default: bench)"
    )
    options = parser.parse_args(arguments)
    options.calls = options.calls.split(",")
    if unknown := [call for call in options.calls if call not in CALLS]:
        parser.error(f"--calls: no call {', '.join(unknown)}; known: {', '.join(CALLS)}")
    numbers = options.clients.split(",")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        parser.error(f"--clients: expected whole numbers above 0, found {options.clients!r}")
    options.clients = [int(number) for number in numbers]
    if min(options.count, options.seconds, options.turns) < 1:
        parser.error("--count, --seconds and --turns must be at least 1")
    return options


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


def find_keras_file(model: Path, given: Path | None) -> tuple[Path, int]:
    """The .keras file of which an exported model was made, and how many views it averages.

    Raises:
        PawprintError: one of the two is missing.
    """
    try:
        card = json.loads((model / CARD).read_bytes())
        name, views = card["name"], card.get("tta", 1)
    except (OSError, ValueError, KeyError):
        raise PawprintError(
            f"--model: {model} is not an exported model; expected a directory with {CARD}: "
            "run dvc repro"
        ) from None
    path = given or ROOT / "models" / f"{name}.keras"
    if not path.is_file():
        raise PawprintError(f"--keras: no file {path}; expected the model that was exported")
    return path.resolve(), views


def get_pictures(source: str, count: int, work: Path) -> list[bytes]:
    """Pictures' bytes, spread evenly over a zip, a folder, or drawn.

    Raises:
        SourceError: it is missing or cannot be read.
    """
    values: dict[str, Any] = {"source": SAMPLE, "sample_images": count, "sha256": ""}
    if source != SAMPLE:
        kind = "folder" if Path(source).is_dir() else "archive"
        values |= {"source": kind, kind: str(Path(source).resolve())}
    data = load_params(ROOT / "params.yaml").data.model_copy(update=values)
    fetch(data, work / "pictures.zip", work / "download")
    with ZipFile(work / "pictures.zip") as archive:
        names = archive.namelist()
        some = [names[i * len(names) // count] for i in range(min(count, len(names)))]
        return [archive.read(name) for name in some]


def check_answers(addresses: Mapping[str, str], pictures: Sequence[bytes]) -> None:
    """Make sure that all servers say the same.

    Raises:
        PawprintError: two of them differ by more than the tolerance.
    """
    for i, content in enumerate(pictures[:COMPARED]):
        answers = {side: _ask(address, content) for side, address in addresses.items()}
        for side, found in answers.items():
            for name, probability in answers[OURS].items():
                if abs(found.get(name, 0.0) - probability) > TOLERANCE:
                    raise PawprintError(
                        f"picture {i}, class {name}: {OURS} says {probability:.4f}, {side} "
                        f"{found.get(name)}; expected the same model on both sides"
                    )


def _ask(address: str, content: bytes) -> dict[str, float]:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = get(Request(f"{address}/v1/predict", make_form(content, "picture.jpg"), kind))
    predictions = json.loads(answer)["results"][0]["predictions"]
    return {found["class"]: found["probability"] for found in predictions}


def measure(addresses: Mapping[str, str], forms: Path, options: argparse.Namespace) -> Runs:
    """Load all sides in turn: one after the other for each number of clients, several times."""
    for side, address in addresses.items():
        log(f"warming up {side}")
        run_wrk(address, forms, WARM_UP_CLIENTS, min(WARM_UP_S, options.seconds))
    runs: Runs = {side: {clients: [] for clients in options.clients} for side in addresses}
    for turn in range(options.turns):
        for clients in options.clients:
            for side, address in addresses.items():
                load = run_wrk(address, forms, clients, options.seconds)
                if not load.requests:
                    raise PawprintError(
                        f"{side}: no answer to {clients} clients within {options.seconds} s; "
                        "expected some: --seconds must be more"
                    )
                runs[side][clients].append(load)
                log(
                    f"[{turn + 1}/{options.turns}] {clients} clients, {side}: "
                    f"{load.requests_per_s:.1f} requests/s, p99 {load.p99_ms:.0f} ms"
                    + (f", errors {load.errors}" if load.errors else "")
                )
    return runs


def run_benchmark(options: argparse.Namespace, work: Path) -> bool:
    """Measure, write the results and print them; whether every request was answered."""
    find_wrk()
    keras_file, views = find_keras_file(options.model, options.keras)
    pictures = get_pictures(options.pictures, options.count, work)
    forms = work / "forms"
    forms.mkdir()
    write_forms(pictures, forms)
    plain = ("bench.plain_server", "--model", str(keras_file), "--views", str(views))
    servers: dict[str, tuple[str, ...]] = {
        f"plain {call}": (*plain, "--call", call) for call in options.calls
    }
    servers[OURS] = ("pawprint", "serve", "--model", str(options.model.resolve()))
    with ExitStack() as stack:
        addresses = {}
        for side, module in servers.items():
            log(f"starting {side}")
            log_file = work / f"{side}.log"
            addresses[side] = stack.enter_context(run_server(module, log_file))
        check_answers(addresses, pictures)
        runs = measure(addresses, forms, options)
    settings = {
        "pictures": Path(options.pictures).name,
        "count": len(pictures),
        "mean_bytes": round(sum(map(len, pictures)) / len(pictures)),
        "seconds": options.seconds,
        "turns": options.turns,
        "clients": options.clients,
    }
    results = describe_runs(runs, settings)
    text = render_markdown(results)
    write_json(options.out / "load.json", results)
    with atomic_write(options.out / "load.md") as file:
        file.write(text.encode())
    print(f"\n{text}")
    return not results["errors"]


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the servers then, too
    work = Path(tempfile.mkdtemp(prefix="pawprint-load-"))
    try:
        good = run_benchmark(options, work)
    except PawprintError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; nothing was written")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
