"""Experiments of a workplace as tasks of a Ray cluster.

On a cluster each one runs in a clone of its own, made from a snapshot, on a machine that sees none
of these files; what comes back is written here, and the experiment is one of this project's.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from pawprint.cluster.engine import on_cluster
from pawprint.runner.errors import StageError
from pawprint.runner.files import atomic_write, file_digest, files_of
from pawprint.runner.journal import ShardTask, Tool, send_shards
from pawprint.runner.params import Params
from pawprint.runner.processes import ON_CLUSTER
from pawprint.workplaces.snapshots import Delivery, WantedExperiment, carry_out, pack, receive
from pawprint.workplaces.workplace import Workplace, git

_SNAPSHOT = "snapshot.tar"


@dataclass(frozen=True)
class Finished:
    """What became of an order, all of it written.

    Attributes:
        ran: the stages that did run, in order.
        times: lines that the stages noted, see ``pawprint/runner/times.py``.
        failed: the stage that failed, and why; None: none did.
    """

    ran: list[str] = field(default_factory=list)
    times: str = ""
    failed: tuple[str, str] | None = None

    def error(self) -> StageError | None:
        """The same as the error of a run here."""
        return None if self.failed is None else StageError(*self.failed)


def run_on_cluster(
    workplace: Workplace,
    orders: Sequence[WantedExperiment],
    params: Params,
    directory: Path,
    tell: Callable[[int, Finished], None],
) -> None:
    """Have a cluster run experiments, each as one task; those that are done are not run again.

    Args:
        workplace: what they are experiments of.
        orders: all change the same keys.
        params: ``compute``, and how many threads a training has.
        directory: for what is noted of finished experiments, and what DVC says of each.
        tell: is told the number of an order and what became of it, in the order in which they end.

    Raises:
        PawprintError: the cluster cannot be used; what is finished is kept.
    """
    state = _digest_inputs(workplace)
    directory.mkdir(parents=True, exist_ok=True)
    left = []
    for number, order in enumerate(orders):
        known = _read_note(workplace, order, state, directory)
        if known is None:
            left.append(number)
        else:
            tell(number, known)
    if not left:
        return
    with tempfile.TemporaryDirectory(prefix="pawprint-") as place:
        snapshot = Path(place, _SNAPSHOT)
        pack(workplace, sorted({key for order in orders for key in order.changes}), snapshot)

        def write(number: int, kept: Any, delivery: Delivery) -> None:
            order = orders[number]
            (directory / f"{order.experiment}.txt").write_text(delivery.said, encoding="utf-8")
            finished = Finished(list(delivery.ran), delivery.times, delivery.failed)
            if finished.failed is None:
                receive(workplace.project, workplace.commit, order.experiment, delivery)
                _write_note(workplace, order, state, directory, finished)
            tell(number, finished)

        shard_task = ShardTask(
            read=lambda number: (_bound(orders[number], params.runtime.threads), None),
            work=carry_out,
            write=write,
            count=lambda number: 1,
            tool=Tool((snapshot,), _open),
            unit="experiment",
            cores=params.runtime.threads,
            is_quick=False,
        )
        with redirect_stdout(sys.stderr), on_cluster(params.compute):
            megabytes = snapshot.stat().st_size / 1e6
            print(f"{len(left)} experiments, each in a clone, from {megabytes:,.1f} MB that travel")
            send_shards(shard_task, left, "experiments")


def _open(directory: Path) -> BinaryIO:
    return open(directory / _SNAPSHOT, "rb")  # read on when the name is gone, and until the end


def _bound(order: WantedExperiment, cores: int) -> WantedExperiment:
    """An order whose stages use no more cores than it has, whatever their machine has."""
    return replace(order, environment={**order.environment, ON_CLUSTER: str(cores)})


def _digest_inputs(workplace: Workplace) -> str:
    """Of all that the experiments follow from, but for their changes."""
    parts = [git(workplace.root, "ls-files", "--stage", "-z"), *workplace.stages]
    for name in workplace.inputs.given:
        if (workplace.root / name).exists():
            for path in files_of([workplace.root / name]):
                parts += [path.as_posix(), file_digest(path)]
    lock = (workplace.root / "dvc.lock").read_text(encoding="utf-8")
    return hashlib.sha256(json.dumps([*parts, lock]).encode()).hexdigest()


def _read_note(
    workplace: Workplace, order: WantedExperiment, state: str, directory: Path
) -> Finished | None:
    """What is known of an order that was done before, if its experiment is still that one."""
    try:
        note = json.loads((directory / f"{order.experiment}.json").read_bytes())
        same = (note["state"], note["order"]) == (state, asdict(order))
        if not same or note["commit"] != workplace.find(order.experiment):
            return None
        return Finished(list(note["ran"]), str(note["times"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_note(
    workplace: Workplace, order: WantedExperiment, state: str, directory: Path, finished: Finished
) -> None:
    note = {"state": state, "order": asdict(order), "commit": workplace.find(order.experiment)}
    note |= {"ran": finished.ran, "times": finished.times}
    with atomic_write(directory / f"{order.experiment}.json") as file:
        file.write(json.dumps(note).encode())
