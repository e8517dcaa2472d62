"""Measures what the driver of a cluster can hold and hand out, without the work itself.

    python -m bench.driver [--shards 10000000] [--address HOST:PORT]

Prints how much memory one description of a shard of stage features takes; then what the loop that
hands out and takes back does with so many of the smallest descriptions, when each answer comes at
once; and with --address, how many orders a second a Ray cluster takes that have nothing to do.
"""

from __future__ import annotations

import argparse
import hashlib
import operator
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pawprint.cluster.engine import on_cluster
from pawprint.runner.journal import ShardTask, engine_in_use, send_shards
from pawprint.runner.params_file import change_params, load_params
from pawprint.transfer.extraction import FeatureShard
from pawprint.transfer.features import PICTURES_PER_FEATURE_SHARD

DESCRIBED = 20_000  # real descriptions that are weighed
ORDERS = 5000  # to a real cluster, at most


class Instant:
    """An engine whose answers come at once; a few shards are out at a time."""

    def run(
        self, shard_task: ShardTask, shards: Mapping[int, Any], title: str
    ) -> Iterator[tuple[int, Any, Any]]:
        for number, shard in shards.items():
            order, kept = shard_task.read(shard)
            yield number, kept, shard_task.work(order, None)

    def describe(self) -> str:
        return ""


def read(shard: Any) -> tuple[Any, Any]:
    return shard, None


def write(shard: Any, kept: Any, answer: Any) -> Any:
    return answer


def count(shard: Any) -> int:
    return 1


NOTHING = ShardTask(read, operator.is_, write, count)  # work that machines without this file know


def describe_shards(number: int) -> list[FeatureShard]:
    """Descriptions as stage features makes them; a picture is known by the hash of its inputs."""
    params = load_params()
    shards = []
    for i in range(number):
        rows = range(i * PICTURES_PER_FEATURE_SHARD, (i + 1) * PICTURES_PER_FEATURE_SHARD)
        keys = tuple(hashlib.sha256(b"%d" % row).hexdigest() for row in rows)
        kinds = (("boundary", "float16"), ("pooled", "float32"))
        outs = tuple((Path(f"data/features/{k}/train/{i:05d}.npy"), dtype) for k, dtype in kinds)
        shards.append(
            FeatureShard(
                Path("network"),
                params.features.precision,
                Path("data/processed/train"),
                rows,
                number * PICTURES_PER_FEATURE_SHARD,
                1,
                params.features.seed,
                params.augment,
                params.features.batch_size,
                outs,
                keys,
            )
        )
    return shards


def memory_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.driver",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shards", type=int, default=10_000_000)
    parser.add_argument("--address", default="", help="of a Ray cluster that this machine joined")
    options = parser.parse_args()
    if options.address:
        values = {"compute.engine": "ray", "compute.address": options.address}
        params = change_params(load_params(), values)
        with on_cluster(params.compute):
            send_shards(NOTHING, range(1), "starting")
            orders, begin = range(min(ORDERS, options.shards)), time.monotonic()
            send_shards(NOTHING, orders, "orders")
        print(f"{len(orders) / (time.monotonic() - begin):.0f} orders a second")
        return
    before = memory_bytes()
    shards = describe_shards(DESCRIBED)
    each = (memory_bytes() - before) / len(shards)
    print(f"a description of {PICTURES_PER_FEATURE_SHARD} pictures: {each / 1000:.1f} kB")
    del shards
    before, begin = memory_bytes(), time.process_time()
    with engine_in_use(Instant()):
        send_shards(NOTHING, range(options.shards), "simulating")
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{options.shards:,} shards: {options.shards / seconds:,.0f} a CPU-second, ", end="")
    print(f"{(peak - before) / 1e9:.2f} GB at most, {(peak - before) / options.shards:.0f} B each")


if __name__ == "__main__":
    main()
