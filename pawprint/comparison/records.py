"""What ``dvc.lock`` and ``params.yaml`` of a revision tell: what went in, what is out of date."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"  # stands for the value of a key that a revision lacks

# path of an output, or of what lies in one → its hash; "": not known
OutputDigest = Callable[[str], str]


@dataclass(frozen=True)
class Change:
    """What two revisions have differently: a parameter, or a file that no stage makes."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Record:
    """The stages of a ``dvc.lock``, as DVC writes them, and the values of ``params.yaml``."""

    stages: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, Any]

    def digests(self, kind: str, names: Iterator[str] | None = None) -> dict[str, str]:
        """path → hash: of the ``deps`` or the ``outs`` of some stages, or of all."""
        stages = self.stages if names is None else names
        entries = (entry for name in stages for entry in self.stages[name].get(kind) or ())
        return {entry["path"]: str(entry.get("md5", "")) for entry in entries}

    def maker(self, path: str) -> str:
        """The stage that makes a file, or the directory in which it lies; empty: none does."""
        for name in self.stages:
            outs = self.digests("outs", iter([name]))
            if any(path == out or path.startswith(f"{out}/") for out in outs):
                return name
        return ""

    def upstream(self, stage: str) -> list[str]:
        """A stage, and those that it depends on, directly or not."""
        found, pending = [], [stage]
        while pending:
            name = pending.pop()
            if name and name not in found and name in self.stages:
                found.append(name)
                pending += sorted({self.maker(path) for path in self._deps(name)})
        return found

    def _deps(self, stage: str) -> dict[str, str]:
        return self.digests("deps", iter([stage]))


def find_outdated(record: Record, stage: str, digest: OutputDigest) -> list[str]:
    """Why the results of a stage do not belong to their revision; empty where they do.

    An experiment that was stopped early has the parameters and the first outputs of its own, and
    what comes later is that of the last commit.

    Args:
        record: of the revision.
        stage: whose results are asked for.
        digest: of files in directories that a stage makes.

    Returns:
        ``finetune: finetune.lr``: a stage, and the parameter or the file that it did not see.
    """
    outs = record.digests("outs")
    found = []
    for name in record.upstream(stage):
        for path, known in record.digests("deps", iter([name])).items():
            if record.maker(path) and known:
                made = outs.get(path) or digest(path)
                found += [f"{name}: {path}"] if made not in ("", known) else []
        for keys in (record.stages[name].get("params") or {}).values():
            now = {key: find_value(record.params, key) for key in keys}
            found += [f"{name}: {c.name}" for c in find_changes(keys, now)]
    return found


def tree_digest(files: Mapping[str, str]) -> str:
    """DVC's hash of a directory.

    Args:
        files: path in the directory → MD5 in hexadecimal.

    >>> tree_digest({"x": "d41d8cd98f00b204e9800998ecf8427e"})
    '6bc41b94167b40a9f22534b31106baf2.dir'
    """
    entries = [{"md5": md5, "relpath": path} for path, md5 in sorted(files.items())]
    text = json.dumps(entries, sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"


def find_value(params: Mapping[str, Any], key: str) -> Any:
    """The value of a key such as ``finetune.lr``, or of a section; ``ABSENT`` if there is none."""
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ABSENT
        value = value[part]
    return value


def find_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The keys that differ, as ``section.key``, in the order of their names.

    >>> find_changes({"head": {"lr": 1e-3}}, {"head": {"lr": 2e-3, "seed": 1}})
    [Change(name='head.lr', before='0.001', after='0.002'), \
Change(name='head.seed', before='absent', after='1')]
    """
    a, b = dict(_flatten(before)), dict(_flatten(after))
    return [
        Change(key, _show(a.get(key, ABSENT)), _show(b.get(key, ABSENT)))
        for key in sorted({*a, *b})
        if a.get(key, ABSENT) != b.get(key, ABSENT)
    ]


def find_other_inputs(before: Record, after: Record) -> list[str]:
    """Files that differ, of those that stages read and none makes: code and data."""
    a, b = (
        {p: md5 for p, md5 in r.digests("deps").items() if not r.maker(p)} for r in (before, after)
    )
    return sorted(path for path in {*a, *b} if a.get(path) != b.get(path))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _flatten(inner, f"{name}.")
        else:
            yield name, inner


def _show(value: Any) -> str:
    return value if value == ABSENT else json.dumps(value, ensure_ascii=False, default=str)
