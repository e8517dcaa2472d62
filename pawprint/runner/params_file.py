"""Reads params.yaml: numbers by YAML 1.2's rule, each mistake in one line that names its key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pawprint.runner.errors import ParamsError
from pawprint.runner.params import Params


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's rule for numbers.

    YAML 1.1, which PyYAML follows, wants a dot in a float, so that ``1e-05``, which DVC
    writes for ``-S finetune.lr=1e-5``, would arrive as a string; and it reads ``010`` as 8 and
    ``1:30`` as 90. An integer with leading zeros is left to the rule of floats, and so refused.
    Source: YAML 1.2.2, section 10.3.2 (core schema, tag resolution).
    """


_NUMBERS = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")
# PyYAML has a way to add rules, and none to take them away: see tests/test_private_sides.py
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in _NUMBERS]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Refuses a key that stands twice: PyYAML would silently keep the last one."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            continue  # construct_mapping refuses it
        if key_node.value in seen:
            mark = key_node.start_mark
            raise ParamsError(
                f"{mark.name}, line {mark.line + 1}: key {key_node.value!r} stands twice; "
                "remove one"
            )
        seen.add(key_node.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def load_yaml(path: Path | str) -> Any:
    """What a YAML file holds, its numbers read as those of params.yaml; errors are PyYAML's."""
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=_Loader)


def parse_yaml(text: str) -> Any:
    """The same of a text."""
    return yaml.load(text, Loader=_Loader)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check the whole of params.yaml.

    Raises:
        ParamsError: one line that names the first key that does not fit, what was expected
            and what was found.
    """
    try:
        content = load_yaml(path)
    except OSError as error:
        raise ParamsError(
            f"{path}: cannot be read ({error.strerror}); run from the project's root"
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML lets the last two pass
        raise ParamsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected sections of keys, found {type(content).__name__}")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{path}: {' '.join(_describe(error).split())}") from None


def parse_value(text: str) -> Any:
    """A value as it would stand in params.yaml.

    >>> parse_value("1e-5"), parse_value("[256]"), parse_value("cosine")
    (1e-05, [256], 'cosine')

    Raises:
        ParamsError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"not valid YAML: {' '.join(str(error).split())}") from None


def change_params(params: Params, values: Mapping[str, Any]) -> Params:
    """All parameters with other values of some keys, checked as ``load_params`` does.

    Args:
        params: all of them.
        values: by keys such as ``head.lr``, which exist.

    Raises:
        ParamsError: as of ``load_params``.
    """
    content = params.model_dump()
    for name, value in values.items():
        section, key = name.split(".")
        content[section][key] = value
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParamsError(" ".join(_describe(error).split())) from None


def _describe(error: ValidationError) -> str:
    """Render what pydantic found as one line, key first."""
    lines = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"])
        found = item["input"]
        match item["type"]:
            case "extra_forbidden":
                text = f"{key}: unknown key; {_known(item['loc'])}"
            case "missing":
                text = f"{key}: missing key; add it"
            case "value_error":
                text = str(item["ctx"]["error"])
            case _:
                expected = item["msg"][0].lower() + item["msg"][1:]
                text = f"{key}: {expected}, found {found!r} ({type(found).__name__})"
        lines.append(text)
    return "; ".join(lines)


def _known(loc: tuple[int | str, ...]) -> str:
    """Name the keys that the place of an unknown key does have."""
    section: Any = Params
    for part in loc[:-1]:
        section = section.model_fields[part].annotation
    return "known: " + ", ".join(section.model_fields)
