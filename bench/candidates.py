"""Measures the first step of the search for near duplicates, whose cost grows with the square.

    python -m bench.candidates [--counts 10000 25000 50000 100000] [--seed 0]

Makes that many grey pictures of random waves, the lower ones stronger, as in photographs; then
encodes them and compares all pairs, as stage split does. Prints processor time, and how much memory
the process has had at most.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from pawprint.inspection.candidates import encode_all, find_candidates
from pawprint.inspection.thumbnails import THUMBNAIL_PX
from pawprint.storage.shards import shard_name, write_shard

WAVES = 16  # across and down
SHARD = 1024


def draw_pictures(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random waves, uint8 [count, 64, 64]; the strength of a wave falls with its frequency."""
    frequencies = np.arange(WAVES)
    strength = 1 / (1 + np.hypot(*np.meshgrid(frequencies, frequencies, indexing="ij")))
    centres = (np.arange(THUMBNAIL_PX) + 0.5) / THUMBNAIL_PX
    cosines = np.cos(np.pi * np.outer(frequencies, centres)).astype(np.float32)
    waves = (rng.normal(size=(count, WAVES, WAVES)) * strength).astype(np.float32)
    return (128 + 40 * (cosines.T @ waves @ cosines)).clip(0, 255).astype(np.uint8)


def measure(count: int, seed: int) -> str:
    """A line of the table that is printed."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as directory:
        pixels = Path(directory)
        for number, start in enumerate(range(0, count, SHARD)):
            pictures = draw_pictures(min(SHARD, count - start), rng)
            write_shard(pixels / shard_name(number), pictures)
        begin = time.process_time()
        codes = encode_all(pixels, np.arange(count))
        encoded = time.process_time()
        pairs = find_candidates(codes, np.arange(count))
        end = time.process_time()
    gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts kilobytes
    seconds = f"{encoded - begin:>12.1f} {end - encoded:>13.1f}"
    return f"{count:>9,} {seconds} {len(pairs.first):>12,} {gb:>5.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.candidates", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 25_000, 50_000, 100_000])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(" pictures encoding CPU-s comparing CPU-s   candidates  GB")
    for count in options.counts:
        print(measure(count, options.seed), flush=True)


if __name__ == "__main__":
    main()
