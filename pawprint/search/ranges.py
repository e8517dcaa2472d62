"""What is searched: keys of params.yaml, each with a range or some choices, all checked first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pawprint.runner.errors import ParamsError
from pawprint.runner.params import Params
from pawprint.runner.params_file import change_params, parse_value

DIGITS = 4  # significant ones, that a searched number has: it is to be read in params.yaml
SECTIONS = ("head", "finetune")
_FORMS = "a..b, a..b:log or x|y|z, such as head.lr=1e-4..1e-2:log or 'head.hidden=[]|[256]'"
_OF_FEATURES = "changes what the frozen network gives, which is computed once: compare such values "
_OF_FEATURES += "by `dvc exp run -S`"
_REASONS = {
    "crossval": "is the measure itself, which may not be searched: set it in params.yaml",
    "model": f"{_OF_FEATURES}, and backbones by `python -m pawprint rank`",
    **dict.fromkeys(("data", "split", "preprocess", "features", "augment"), _OF_FEATURES),
    "baseline": "is of the network that is trained from scratch: try values by `dvc exp run -S`",
    **dict.fromkeys(
        ("ensemble", "evaluate", "export", "gradcam", "report"), "does not change what is trained"
    ),
    "runtime": "changes how long a training takes, and not how good it is",
}


@dataclass(frozen=True)
class NumberRange:
    """All numbers of a range.

    Attributes:
        key: of params.yaml, such as ``head.lr``.
        low: the least one.
        high: the largest one.
        log: whether each factor counts the same, instead of each difference.
        whole: whether they are integers.
    """

    key: str
    low: float
    high: float
    log: bool
    whole: bool

    @property
    def text(self) -> str:
        return f"{self.low}..{self.high}" + (":log" if self.log else "")

    @property
    def size(self) -> float:
        """How many values there are."""
        return self.high - self.low + 1 if self.whole else math.inf

    def suggest(self, value: Any) -> float | None:
        """A value of params.yaml as the sampler has it; None if it is not in the range."""
        return value if self.low <= value <= self.high else None

    def read(self, suggested: Any) -> float:
        """A number of the sampler as it is written into params.yaml: with few digits.

        >>> NumberRange("head.lr", 1e-4, 1e-2, True, False).read(0.00123456)
        0.001235
        """
        if self.whole:
            return int(suggested)
        return min(max(float(f"{suggested:.{DIGITS}g}"), float(self.low)), float(self.high))


@dataclass(frozen=True)
class Choices:
    """Some values.

    Attributes:
        key: of params.yaml.
        texts: how each one was written; by these the sampler knows them.
        values: what they are.
    """

    key: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def text(self) -> str:
        return "|".join(self.texts)

    @property
    def size(self) -> float:
        return len(self.texts)

    def suggest(self, value: Any) -> str | None:
        """The text of a value; None if it is none of the choices."""
        known = (text for text, own in zip(self.texts, self.values, strict=True) if own == value)
        return next(known, None)

    def read(self, suggested: Any) -> Any:
        return self.values[self.texts.index(suggested)]


Searched = NumberRange | Choices


def parse_ranges(arguments: Sequence[str], params: Params) -> list[Searched]:
    """Read what is to be searched, and check each end and each choice against the schema.

    Args:
        arguments: ``key=range`` each.
        params: what the other keys are.

    Returns:
        One for each argument, in their order.

    Raises:
        ParamsError: the key, what was expected of it, and what was found.
    """
    if not arguments:
        raise ParamsError(f"expected keys and their ranges, found none: KEY={_FORMS}")
    found: dict[str, Searched] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or "." not in key:
            raise ParamsError(f"{argument}: expected KEY={_FORMS}")
        if key in found:
            raise ParamsError(f"{key}: stands twice; remove one")
        _check_key(key)
        found[key] = _parse(key, text, look_up(params, key))
        for value in _bounds_of(found[key]):
            change_params(params, {key: value})
    return list(found.values())


def look_up(params: Params, key: str) -> Any:
    """The value of a key such as ``head.lr``."""
    section, name = key.split(".")
    return getattr(getattr(params, section), name)


def count_combinations(ranges: Sequence[Searched]) -> float:
    """How many settings there are; infinite where a range is of real numbers."""
    return math.prod(each.size for each in ranges)


def read_all(ranges: Sequence[Searched], suggested: Mapping[str, Any]) -> dict[str, Any]:
    """The values for params.yaml of what a sampler suggests."""
    return {each.key: each.read(suggested[each.key]) for each in ranges}


def suggest_all(ranges: Sequence[Searched], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of params.yaml as a sampler has them, without those that lie in no range."""
    found = {each.key: each.suggest(values[each.key]) for each in ranges}
    return {key: value for key, value in found.items() if value is not None}


def _check_key(key: str) -> None:
    section, _, name = key.partition(".")
    if section in _REASONS:
        raise ParamsError(f"{key}: {_REASONS[section]}; searched are head.* and finetune.*")
    if section not in SECTIONS:
        raise ParamsError(f"{key}: unknown key; searched are head.* and finetune.*")
    known = type_of_section(section).model_fields
    if name not in known:
        raise ParamsError(f"{key}: unknown key; known: {', '.join(known)}")
    if name == "seed":
        raise ParamsError(
            f"{key}: a seed is luck and no setting: the best of many would be no better on new "
            "pictures; leave it out"
        )


def type_of_section(section: str) -> Any:
    """The class of a section of params.yaml."""
    return Params.model_fields[section].annotation


def _parse(key: str, text: str, current: Any) -> Searched:
    if "|" in text:
        return _parse_choices(key, text)
    if ".." in text:
        return _parse_numbers(key, text, current)
    raise ParamsError(
        f"{key}: expected a range or choices ({_FORMS}), found {text!r}; a single value is set in "
        "params.yaml"
    )


def _parse_choices(key: str, text: str) -> Choices:
    texts = tuple(part.strip() for part in text.split("|"))
    values = tuple(_parse_value(key, part) for part in texts)
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ParamsError(f"{key}: the choice {texts[place]} stands twice; remove one")
    return Choices(key, texts, values)


def _parse_numbers(key: str, text: str, current: Any) -> NumberRange:
    if isinstance(current, bool) or not isinstance(current, int | float):
        raise ParamsError(
            f"{key}: holds no number, so that it has choices, x|y|z, and no range; found {text!r}"
        )
    ends, colon, scale = text.partition(":")
    if colon and scale != "log":
        raise ParamsError(f"{key}: expected :log, or nothing, behind the range; found :{scale}")
    parts = [_parse_value(key, part) for part in ends.split("..")]
    numbers = [p for p in parts if isinstance(p, int | float) and not isinstance(p, bool)]
    if len(parts) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise ParamsError(f"{key}: expected two numbers, a..b, found {ends!r}")
    low, high = numbers
    if not low < high:
        raise ParamsError(f"{key}: expected a range a..b with a below b, found {ends}")
    if scale == "log" and low <= 0:
        raise ParamsError(f"{key}: a range with :log begins above 0, found {text}")
    return NumberRange(key, low, high, scale == "log", isinstance(current, int))


def _parse_value(key: str, text: str) -> Any:
    try:
        return parse_value(text)
    except ParamsError as error:
        raise ParamsError(f"{key}: {text!r} is {error}") from None


def _bounds_of(searched: Searched) -> tuple[Any, ...]:
    if isinstance(searched, Choices):
        return searched.values
    return (searched.low, searched.high)
