"""Whether an exported model is still the one that the pipeline would export."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath

from pawprint.inference.classifier import ModelCard
from pawprint.registry.models import ENSEMBLE, MODELS, find_best
from pawprint.runner.bounds import MAX_JSON_BYTES, parse_json, read_bounded
from pawprint.runner.errors import one_line
from pawprint.runner.files import UNFINISHED, file_digest
from pawprint.storage.tables import printable


def find_staleness(card: ModelCard, directory: Path) -> str:
    """Why an exported model is not what the pipeline has by now; empty if nothing tells so.

    The files that it was made of are looked for in its project, the second directory above it, and
    are compared by their MD5. Of one that was exported as the best, the figures of all models are
    looked at too. Where there are none, as in a container, there is nothing to tell.

    Args:
        card: of the model; what it names outside of the project is not looked at.
        directory: of the model.

    Returns:
        A line: which model, what has changed since, and what makes it anew.
    """
    root = Path(os.path.abspath(directory)).parent.parent
    event = (
        _find_change(card, root)
        or _find_training(card, root)
        or _find_end_of_ensemble(card, root)
        or _find_better(card, root)
        or _find_views(card, root)
        or _find_promise(card, root)
    )
    if not event:
        return ""
    name = printable(one_line(card.name))
    return f"{directory}: {name} was exported before {event}; `dvc repro` exports it anew"


def _find_change(card: ModelCard, root: Path) -> str:
    """Of a file that the model was made of."""
    inside = {name: md5 for name, md5 in card.hashes.items() if not _leads_out(name)}
    changed = [name for name, md5 in inside.items() if _md5(root / name) not in ("", md5)]
    return f"{' and '.join(sorted(changed))} changed" if changed else ""


def _find_training(card: ModelCard, root: Path) -> str:
    """A training, of the model or of one that it was compared with, that has not ended yet."""
    for model in MODELS:
        if not (model.file in card.hashes or model.name in card.val_log_losses):
            continue
        if not (root / model.file).is_file() and (root / UNFINISHED / model.stage).is_dir():
            whose = "its training" if model.name == card.name else f"the training of {model.name}"
            return f"{whose} was begun anew, which has not made {model.file} yet"
    return ""


def _find_end_of_ensemble(card: ModelCard, root: Path) -> str:
    """An ensemble that is no longer made: its stage has left no model, and no figures."""
    figures = root / ENSEMBLE.figures
    if ENSEMBLE.file not in card.hashes or (root / ENSEMBLE.file).is_file():
        return ""
    if not figures.is_file() or _read_figure(figures, "val_log_loss") is not None:
        return ""
    return "ensemble.picks became 0, so that there is no ensemble any more"


def _find_better(card: ModelCard, root: Path) -> str:
    """Another model that is the best by now, where this one was exported as the best."""
    if not card.val_log_losses:
        return ""
    losses = {}
    for model in MODELS:
        found = _read_figure(root / model.figures, "val_log_loss")
        loss = card.val_log_losses.get(model.name) if found is None else found
        if loss is not None:
            losses[model.name] = loss
    if card.name not in losses or (best := find_best(losses)) == card.name:
        return ""
    return (
        f"{best} became the best on validation (log loss {losses[best]:.4g}, that of {card.name} "
        f"is {losses[card.name]:.4g})"
    )


def _find_views(card: ModelCard, root: Path) -> str:
    """An evaluation of the model with its mirror images, or without, as it was not exported."""
    tta = _read_figure(root / "metrics/evaluate/details.json", "tta")
    if not card.hashes or tta in (None, card.tta):
        return ""
    return f"stage evaluate judged the models with evaluate.tta: {tta:.0f} (its own is {card.tta})"


def _find_promise(card: ModelCard, root: Path) -> str:
    """Another ``unlikeness.k``, or another promise of what it may decide alone."""
    path = root / "metrics/deciding/service.json"
    try:
        found = parse_json(read_bounded(path, MAX_JSON_BYTES)) if path.is_file() else {}
    except (OSError, ValueError):
        return ""
    if not isinstance(found, dict):
        return ""
    k, own = _parse_figure(found.get("unlike_above")), card.unlike_above
    if card.hashes and None not in (k, own) and k != own:
        return f"unlikeness.k became {k:g} (its own is {own:g})"
    if not card.deciding or found.get("model") != card.name:
        return ""
    changed = found != card.deciding
    return "stage deciding found anew what it may decide alone" if changed else ""


def _parse_figure(value: object) -> float | None:
    try:
        return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
    except OverflowError:  # an integer beyond all floats
        return None


def _leads_out(name: str) -> bool:
    path = PurePath(name)
    return path.is_absolute() or ".." in path.parts


def _md5(path: Path) -> str:
    """Of a file; empty where there is none to read, which is no reason to give no answers."""
    try:
        return file_digest(path, "md5") if path.is_file() else ""
    except OSError:
        return ""


def _read_figure(path: Path, name: str) -> float | None:
    """One of the figures in a file; None where there is none to read."""
    try:
        return float(json.loads(path.read_bytes())[name]) if path.is_file() else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
