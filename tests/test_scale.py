# covers: B9, R20
"""Stages on a cluster of machines that share no directory: the hashes of a run on this one.

The short form of `make scale`. What the cluster's code does by itself is tested on one Ray node,
in tests/test_cluster.py, also where network namespaces are not allowed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.projects import clone
from bench.scale.__main__ import Row, render
from bench.scale.cluster import Cluster, why_impossible
from bench.scale.runs import Driver, Harm

TINY = {"data.sample_images": 300, "preprocess.image_size": 64, "model.cut": "block6d"}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paw") as directory:  # sockets want a short path
        yield Path(directory)


def test_a_node_that_dies_changes_no_hash(place: Path) -> None:
    if reason := why_impossible():
        pytest.skip(reason)
    project = clone(place / "project", place / "home", None, TINY)
    project.dvc("repro", "split")
    driver = Driver(project, ("preprocess", "features"), place / "log")
    local = driver.run_here()
    (place / "nodes").mkdir()
    with Cluster(place / "nodes", [project.root]) as cluster:
        cluster.start(1)
        cluster.start(2)
        harm = Harm(2.0, partial(cluster.kill, 2))
        run = driver.run_on(cluster, harm)
        assert harm.done
        assert cluster.nodes == [1]
    assert {"data/processed", "data/features/pooled", "models/backbone.keras"} <= set(run.hashes)
    assert run.hashes == local.hashes
    assert "Ray cluster of 2 cores: 10.77.0.1 (1), 10.77.0.2 (1)" in run.text
    assert "Ray cluster" not in local.text


def test_a_row_without_a_bar_says_nothing_of_it() -> None:
    rows = [Row("a", "5 s"), Row("b", "6 s", True), Row("c", "7 s", False)]
    assert render(rows).splitlines()[2:] == [
        "| a | 5 s |  |",
        "| b | 6 s | yes |",
        "| c | 7 s | **no** |",
    ]
