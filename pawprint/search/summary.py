"""What a search says at its end: the best trials, what they gain, and how much of it is luck."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pawprint.choosing.scores import PairedMean
from pawprint.evaluation.markdown import markdown_table
from pawprint.search.optimism import nested_loss
from pawprint.search.study import Trial
from pawprint.storage.tables import write_csv

_SHOWN = 10
_CURRENT = "params.yaml"


def rank(trials: Sequence[Trial]) -> list[Trial]:
    """Those that have a score, the best first; of equal ones, the earlier."""
    scored = [trial for trial in trials if trial.loss is not None]
    return sorted(scored, key=lambda trial: (trial.loss, trial.number))


def write_trials(path: Path, trials: Sequence[Trial], keys: Sequence[str]) -> None:
    """One row for each trial, in their order: its values, its figures, why it failed."""
    header = ("trial", *keys, "log_loss", "log_loss_se", "accuracy", "failed", "experiment")
    rows = [
        [t.number, *(_text(t.values[key]) for key in keys), *_figures(t), t.reason, t.experiment]
        for t in trials
    ]
    write_csv(path, header, rows)


def describe_trials(trials: Sequence[Trial], keys: Sequence[str]) -> str:
    """How many there were, and the best of them in a table."""
    ranked, failed = rank(trials), [trial for trial in trials if trial.loss is None]
    lines = [f"{len(trials)} trials, {len(failed)} of them failed"]
    lines += [f"  trial {t.number} ({_pairs(t.values)}): {t.reason}" for t in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more")
    shown = ranked[:_SHOWN] + [trial for trial in ranked[_SHOWN:] if trial.number == 0]
    with_errors = any(trial.loss_se for trial in ranked)
    rows = [
        [
            trial.experiment if trial.number else f"{trial.experiment} = {_CURRENT}",
            f"{trial.loss:.4f}",
            *([f"{trial.loss_se:.4f}"] if with_errors else []),
            f"{trial.accuracy:.4f}",
            *(_text(trial.values[key]) for key in keys),
        ]
        for trial in shown
    ]
    header = ["experiment", "log loss", *(["error"] if with_errors else []), "accuracy", *keys]
    return "\n".join([*lines, markdown_table(header, rows, aligned=True)])


def describe_best_head(
    trials: Sequence[Trial],
    fold_sizes: np.ndarray,
    gain: PairedMean | None,
    confidence: float,
) -> str:
    """The best settings of the head, against those of params.yaml, and their optimism.

    Args:
        trials: all of them; at least one has a score.
        fold_sizes: int64 [k], pictures of each fold.
        gain: of the best over trial 0; None: trial 0 is the best, or it failed.
        confidence: of the interval.
    """
    ranked = rank(trials)
    best = ranked[0]
    assert best.loss is not None
    lines = [
        f"best: {best.experiment}: log loss {best.loss:.4f}, standard error {best.loss_se:.4f} "
        f"over {fold_sizes.sum()} pictures ({_pairs(best.values)})"
    ]
    if gain is not None:
        lines.append(
            f"against {_CURRENT}, on the same pictures: {gain.mean:.4f} lower, "
            f"{confidence:.0%} interval {gain.low:.4f} to {gain.high:.4f}"
        )
        if gain.low <= 0:
            lines.append(
                "that may be chance: the settings of params.yaml are not worse beyond the error"
            )
    elif best.number == 0:
        lines.append(f"none of the others was better than {_CURRENT}")
    if len(ranked) > 1:
        nested = nested_loss([trial.fold_losses for trial in ranked], fold_sizes)
        lines.append(
            f"the best of {len(ranked)} is partly luck: chosen by the other folds and judged on "
            f"the one left out, it is {nested:.4f} instead of {best.loss:.4f}; expect that of new "
            f"pictures{_against_current(trials[0])}"
        )
    return "\n".join(lines)


def describe_best_finetuned(trials: Sequence[Trial], val_pictures: int) -> str:
    """The best settings of fine-tuning; how sure they are cannot be told from one split."""
    ranked = rank(trials)
    best, current = ranked[0], trials[0]
    lines = [
        f"best: {best.experiment}: validation log loss {best.loss:.4f} ({_pairs(best.values)})"
    ]
    if current.loss is not None:
        lines.append(f"{_CURRENT}: {current.loss:.4f}")
    losses = np.array([trial.loss for trial in ranked], np.float64)
    spread = float(losses.std(ddof=1)) if len(ranked) > 1 else 0.0
    lines.append(
        f"the best of {len(ranked)} is partly luck: all are judged on the same {val_pictures} "
        f"validation pictures, and vary by {spread:.4f} (standard deviation); run it again with "
        "another finetune.seed before you believe in a smaller difference than that"
    )
    return "\n".join(lines)


def describe_importances(importances: Mapping[str, float]) -> str:
    """In one line."""
    if not importances:
        return "importance of each key: too few trials to tell"
    ordered = sorted(importances.items(), key=lambda item: -item[1])
    return "importance of each key: " + ", ".join(f"{key} {share:.0%}" for key, share in ordered)


def _against_current(current: Trial) -> str:
    if current.loss is None:
        return ""
    return f" ({_CURRENT}: {current.loss:.4f})"


def _figures(trial: Trial) -> list[object]:
    if trial.loss is None:
        return ["", "", ""]
    return [trial.loss, trial.loss_se or "", trial.accuracy]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
