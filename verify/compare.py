"""Compares two dvc.lock files, and says why they may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The file that names the machine is the explanation of a difference, not one itself
MACHINE = "metrics/machine.json"

Stages = Mapping[str, Mapping[str, Any]]  # what `stages` of a dvc.lock holds


@dataclass(frozen=True)
class Row:
    """An output of a stage, and its hash in each of two dvc.lock files, where it has one."""

    stage: str
    path: str
    first: str | None
    second: str | None

    @property
    def equal(self) -> bool:
        return bool(self.first) and self.first == self.second


def compare(first: Stages, second: Stages) -> list[Row]:
    """Every output of two runs, in the order of the first; then those that only the second has."""
    rows = []
    for stage in {**first, **second}:
        before, after = (_hashes(stages, stage, "outs") for stages in (first, second))
        for path in {**before, **after}:
            if path != MACHINE:
                rows.append(Row(stage, path, before.get(path), after.get(path)))
    return rows


def _hashes(stages: Stages, stage: str, kind: str) -> dict[str, str]:
    return {entry["path"]: entry.get("md5", "") for entry in stages.get(stage, {}).get(kind, [])}


def explain(first: Stages, second: Stages) -> list[str]:
    """One line for each stage of which an output differs: what else of it differs."""
    lines = []
    different = [row for row in compare(first, second) if not row.equal]
    changed = {row.path for row in different}
    for stage in dict.fromkeys(row.stage for row in different):
        if stage not in first or stage not in second:
            lines.append(f"{stage}: has been run {'second' if stage in second else 'first'} only")
            continue
        deps = [_hashes(stages, stage, "deps") for stages in (first, second)]
        inputs = [p for p in {**deps[0], **deps[1]} if deps[0].get(p) != deps[1].get(p)]
        made = [p for p in inputs if any(p == c or p.startswith(f"{c}/") for c in changed)]
        given = [p for p in inputs if p not in made]
        if first[stage].get("params") != second[stage].get("params"):
            given.append("its parameters")
        if given:
            lines.append(f"{stage}: not the same run, since these differ: {', '.join(given)}")
        elif made:
            lines.append(f"{stage}: follows from {', '.join(made)}")
        else:
            lines.append(f"{stage}: same inputs and parameters, other results")
    return lines


def explain_machine(first: Sequence[str] | None, second: Mapping[str, str]) -> list[str]:
    """What differs between two machines.

    Args:
        first: the lines of the first run's ``metrics/machine.json``; None: there are none.
        second: what ``describe_machine`` says of the second run's.
    """
    if first is None:
        return ["the machine of the first run is not known"]
    before = dict(line.split(": ", 1) for line in first)
    before.pop("results", None)  # a digest of what it made
    return [
        f"{name}: {before.get(name)} / {second.get(name)}"
        for name in {**before, **second}
        if before.get(name) != second.get(name)
    ] or ["both runs describe the same machine: this is a fault of Pawprint"]


def render_table(rows: Sequence[Row]) -> str:
    """One line for each output: whether it is equal, its stage and its path."""
    width = max((len(row.stage) for row in rows), default=0)
    lines = [
        f"{'equal' if row.equal else 'DIFFERENT':9}  {row.stage:{width}}  {row.path}"
        for row in rows
    ]
    equal = sum(row.equal for row in rows)
    return "\n".join([*lines, f"{equal} of {len(rows)} outputs are equal"])
