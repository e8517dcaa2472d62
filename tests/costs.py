"""Looks for inputs that cost much: mutates files, keeps the dearest, and goes on from these.

    python tests/costs.py --minutes 60 --seed 1

Kinds: pictures (as the server decodes them), archives (as stage download reads them), bodies of
requests, weights and models. Each input is tried in a process of its own, under limits of the
kernel; what it costs is processor time and memory above rest. At the end the worst ten are told,
and written to a directory. Exit code 1 if one costs more than any input may. Linux only.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from corpus import encode, pictures
from corpus_zips import zips
from costly import costly
from PIL import Image
from servers import data_params
from test_fuzz import VALID
from tqdm import tqdm

from pawprint.answers.orders import ANSWERED_PIXELS, DecodingLimits, Order, decode_order
from pawprint.runner.errors import PawprintError
from pawprint.runner.limits import CPU_SIGNAL, leave_no_core, limited_cpu, limited_memory

MOST_CPU_S = 2.0
MOST_MB = 512.0
HARD_CPU_S = 20.0  # after which nothing is learnt any more
HARD_BYTES = 4_000_000_000
MOST_BYTES = 4_000_000  # of an input
KEPT = 60  # of each kind
ALIKE = 4  # of the same outcome


@dataclass(frozen=True)
class Cost:
    """What an input costs.

    Attributes:
        cpu_s: processor time.
        megabytes: memory above rest, at the most.
        outcome: what was said of it.
    """

    cpu_s: float
    megabytes: float
    outcome: str

    @property
    def share(self) -> float:
        """Of what an input may cost."""
        return max(self.cpu_s / MOST_CPU_S, self.megabytes / MOST_MB)


@dataclass(frozen=True)
class Input:
    kind: str
    content: bytes
    cost: Cost

    @property
    def rank(self) -> float:
        """Dear inputs first, and of those the small ones."""
        return self.cost.share / (1 + len(self.content) / 100_000)


# What is done with an input


def try_picture(content: bytes) -> str:
    result = decode_order(Order(content, 256, ANSWERED_PIXELS, 0), DecodingLimits()).result
    return str(result)[:100] if isinstance(result, Exception) else "decoded"


def try_archive(content: bytes) -> str:
    from pawprint.sources.archive import write_archive
    from pawprint.sources.containers import open_container
    from pawprint.sources.quota import Quota

    with tempfile.TemporaryDirectory() as directory:
        path, out = Path(directory, "in.zip"), Path(directory, "out.zip")
        path.write_bytes(content)
        quota = Quota(data_params(), "archive")
        with open_container(path, Path(directory), quota) as listing:
            write_archive(listing, out, quota)
    return "read"


def try_json(content: bytes) -> str:
    from pawprint.serving.settings import Settings
    from pawprint.serving.uploads import read_json

    return f"{len(read_json(content, Settings().max_pictures).files)} pictures"


def try_form(content: bytes) -> str:
    from pawprint.serving.settings import Settings
    from pawprint.serving.uploads import read_form

    files = read_form("multipart/form-data; boundary=b", content, Settings().max_pictures).files
    return f"{len(files)} pictures"


def try_weights(content: bytes) -> str:
    from pawprint.backbones.legacy_weights import read_state_dict

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "weights.pth")
        path.write_bytes(content)
        return f"{len(read_state_dict(path))} tensors"


def try_model(content: bytes) -> str:
    from pawprint.networks.model_files import read_model_info

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")
        path.write_bytes(content)
        return str(read_model_info(path))[:100]


TRIALS: dict[str, Callable[[bytes], str]] = {
    "picture": try_picture,
    "archive": try_archive,
    "json": try_json,
    "form": try_form,
    "weights": try_weights,
    "model": try_model,
}


# Where it begins


def seeds() -> dict[str, list[bytes]]:
    """Inputs of each kind from which others are made."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    return {
        "picture": [
            *(case.content for case in pictures().values()),
            *(case.content for case in costly().values()),
            *large_pictures(),
        ],
        "archive": [*(case.content for case in zips().values()), *tars()],
        "json": [b'{"images": [{"content": "aGk=", "name": "a"}], "top": 3}', b"[[1, 2], {}]"],
        "form": [head + b"hi\r\n--b--\r\n", head + b"x\r\n" + head + b"\r\n" * 50],
        "weights": [VALID],
        "model": [model_file()],
    }


def large_pictures() -> list[bytes]:
    """Many pixels in few bytes, in every format."""
    flat = Image.new("RGB", (3000, 2000), "orange")
    found = [encode(flat, name) for name in ("PNG", "WEBP", "GIF", "AVIF", "JPEG")]
    found += [encode(flat, "TIFF", compression=c) for c in ("tiff_lzw", "tiff_deflate", "jpeg")]
    found.append(encode(flat, "JPEG", progressive=True))
    found.append(encode(flat.convert("L"), "PPM")[:1000])
    return found


def tars() -> list[bytes]:
    found = []
    for mode in ("w", "w:gz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name in ("cat/1.png", "dog/1.png"):
                info = tarfile.TarInfo(name)
                info.size = 5
                archive.addfile(info, io.BytesIO(b"hello"))
        found.append(file.getvalue())
    return found


def model_file() -> bytes:
    """What a model file says of itself, in a .keras file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "metadata.json", '{"pawprint": {"class_names": ["cat", "dog"], "image_size": 32}}'
        )
        archive.writestr("config.json", "{}")
    return file.getvalue()


# How others are made


def mutate(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A few changes: numbers in headers, parts that are missing, foreign or there many times."""
    found = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        # Most of what costs is said in the first bytes
        end = len(found) if draw.random() < 0.5 else min(len(found), 200)
        at = draw.randint(0, end)
        size = draw.choice((1, 2, 4, 8, 12, 16, 30, 100, 1000))
        match draw.choice(("number", "number", "repeat", "remove", "cut", "mix", "byte", "fill")):
            case "number":
                width = draw.choice((1, 2, 4, 8))
                value = draw.choice((0, 1, 255, 4096, 20_000, 65_535, 2**24, 2**31 - 1, 2**64 - 1))
                value = value if draw.random() < 0.7 else draw.randrange(2 ** draw.randint(1, 40))
                order = draw.choice(("little", "big"))
                found[at : at + width] = (value % 256**width).to_bytes(width, order)
            case "repeat":
                times = draw.choice((2, 10, 100, 10_000, 100_000))
                found[at:at] = found[at : at + size] * min(times, MOST_BYTES // size)
            case "remove":
                del found[at : at + size]
            case "cut":
                del found[max(at, 8) :]
            case "mix":
                other = draw.choice(others)
                start = draw.randint(0, len(other))
                found[at : at + size] = other[start : start + 10 * size]
            case "byte" if at < len(found):
                found[at] = draw.randrange(256)
            case "fill":
                found[at:at] = bytes([draw.randrange(256)]) * draw.choice((10, 1000, 100_000))
    return bytes(found[:MOST_BYTES])


# How an input is tried


class Trial:
    """A process in which inputs are tried, and another one where an input ended it."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None

    def try_out(self, kind: str, content: bytes) -> Cost:
        if self._process is None:
            context = multiprocessing.get_context("fork")
            self._connection, end = context.Pipe()
            self._process = context.Process(target=_try_all, args=(end,), daemon=True)
            self._process.start()
            end.close()
        try:
            self._connection.send((kind, content))
            cost: Cost = self._connection.recv()
            return cost
        except (EOFError, OSError):
            self._process.join()
            code, self._process = self._process.exitcode, None
            limit = DecodingLimits().cpu_s if kind == "picture" else HARD_CPU_S
            outcome = (
                f"ended by its limit of {limit:g} s" if code == -CPU_SIGNAL else f"exit {code}"
            )
            return Cost(limit if code == -CPU_SIGNAL else HARD_CPU_S, 0, outcome)


def _try_all(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_no_core()
    with limited_memory(HARD_BYTES), open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere  # bars and warnings of what is tried
        while True:
            try:
                kind, content = connection.recv()
            except EOFError:
                return
            connection.send(_measure(kind, content))


def _measure(kind: str, content: bytes) -> Cost:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew: proc(5)
    rest, began = _memory("VmRSS"), _cpu_s()
    try:
        if kind == "picture":  # which has limits of its own
            with limited_memory(DecodingLimits().memory_bytes):
                outcome = TRIALS[kind](content)
        else:
            with limited_cpu(HARD_CPU_S):
                outcome = TRIALS[kind](content)
    except PawprintError as error:
        outcome = str(error)[:100]
    except Exception as error:  # also a refusal of the server
        outcome = f"{type(error).__name__}: {str(error)[:100]}"
    return Cost(_cpu_s() - began, _memory("VmHWM") - rest, outcome)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory(name: str) -> float:
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name)]
    return int(line.split()[1]) / 1000


# The search


def search(minutes: float, seed: int, kinds: list[str]) -> dict[str, list[Input]]:
    """The dearest inputs of each kind, the dearest first."""
    draw, trial = random.Random(seed), Trial()
    begun = {kind: found for kind, found in seeds().items() if kind in kinds}
    best = {
        kind: [Input(kind, content, trial.try_out(kind, content)) for content in contents]
        for kind, contents in begun.items()
    }
    tried, end = 0, time.monotonic() + 60 * minutes
    with tqdm(unit="input", desc="inputs") as bar:
        while time.monotonic() < end:
            kind = draw.choice([*begun, "picture", "picture"] if "picture" in begun else [*begun])
            pool = best[kind] if draw.random() < 0.6 else []
            parent = draw.choice(pool).content if pool else draw.choice(begun[kind])
            content = mutate(parent, begun[kind], draw)
            cost = trial.try_out(kind, content)
            best[kind] = _keep([*best[kind], Input(kind, content, cost)])
            tried += 1
            bar.update()
            if tried % 500 == 0:
                top = max((x for xs in best.values() for x in xs), key=lambda x: x.cost.share)
                bar.set_postfix_str(
                    f"{top.kind} {top.cost.cpu_s:.2f} s {top.cost.megabytes:.0f} MB"
                )
    return best


def _keep(inputs: list[Input]) -> list[Input]:
    """The dearest, some of each outcome: the others are the same find."""
    alike: Counter[str] = Counter()
    kept = []
    for found in sorted(inputs, key=lambda found: -found.rank):
        outcome = re.sub(r"\d+", "0", found.cost.outcome[:40])
        alike[outcome] += 1
        if alike[outcome] <= ALIKE:
            kept.append(found)
    return kept[:KEPT]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(TRIALS), help="some of: %(default)s")
    parser.add_argument("--out", type=Path, default=Path(".costs"), help="of the worst inputs")
    options = parser.parse_args()
    best = search(options.minutes, options.seed, options.kinds.split(","))
    worst = sorted((x for xs in best.values() for x in xs), key=lambda x: -x.cost.share)[:10]
    options.out.mkdir(exist_ok=True)
    print(f"{'CPU s':>6} {'MB':>6} {'bytes':>9}  kind: outcome")
    for number, found in enumerate(worst):
        (options.out / f"{number}.{found.kind}").write_bytes(found.content)
        cost = found.cost
        print(
            f"{cost.cpu_s:6.2f} {cost.megabytes:6.0f} {len(found.content):9,}  "
            f"{found.kind}: {cost.outcome}"
        )
    print(f"The worst ten are in {options.out}/")
    over = [x for x in worst if x.cost.cpu_s > MOST_CPU_S or x.cost.megabytes > MOST_MB]
    if over:
        print(f"{len(over)} cost more than {MOST_CPU_S:g} s or {MOST_MB:g} MB", file=sys.stderr)
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
