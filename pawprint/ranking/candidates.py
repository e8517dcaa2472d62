"""What is ranked: backbones at image sizes, each as values of params.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from pawprint.ranking.weights import has_imagenet_weights, tell_way_to_weights
from pawprint.registry.backbones import (
    AUTO,
    BACKBONES,
    INPUT,
    Backbone,
    choose_image_size,
    find_backbone,
)
from pawprint.runner.errors import ParamsError, WeightsError
from pawprint.runner.params import Params, PreprocessParams

STEP_PX = 32  # all backbones halve the picture five times

HasWeights = Callable[[str], bool]  # a backbone's name → its ImageNet weights are here


@dataclass(frozen=True)
class Candidate:
    """A backbone at an image size.

    Attributes:
        backbone: its name in the registry.
        size_px: side of the pictures.
        image_size: the same as ``preprocess.image_size``: ``auto``, where params.yaml has that and
            it stands for this size, since to DVC a number would be another run.
        cut: as ``model.cut``.
        weights: as ``model.weights``.
        current: whether params.yaml has it.
    """

    backbone: str
    size_px: int
    image_size: str
    cut: str
    weights: str
    current: bool = False

    def __str__(self) -> str:
        return f"{self.backbone} at {self.size_px} px"

    @property
    def experiment(self) -> str:
        """The name of its DVC experiment."""
        return f"rank-{self.backbone.lower()}-{self.size_px}"

    @property
    def changes(self) -> dict[str, str]:
        """Keys of params.yaml, and the candidate's values."""
        return {
            "preprocess.image_size": self.image_size,
            "model.backbone": self.backbone,
            "model.weights": self.weights,
            "model.cut": self.cut,
        }


@dataclass(frozen=True)
class ChosenCandidates:
    """What is ranked, and what is not.

    Attributes:
        chosen: at least one, the current one first if it is among them.
        left_out: whose weights are not on this machine.
    """

    chosen: list[Candidate]
    left_out: list[Candidate] = field(default_factory=list)


def choose_candidates(
    named: Sequence[str],
    sizes_px: Sequence[int],
    params: Params,
    has_weights: HasWeights = has_imagenet_weights,
) -> ChosenCandidates:
    """What a user asks for, in order.

    Args:
        named: ``MODEL`` or ``MODEL@SIZE``; none: all backbones, and the current one at the
            sizes ``STEP_PX`` to either side too.
        sizes_px: of the backbones that are named, or taken, without a size; none: as
            ``preprocess.image_size`` says, of which ``auto`` is another size for each backbone.
        params: the current ones.
        has_weights: tells which weights are here.

    Raises:
        ParamsError: no such backbone, or a size that ``preprocess.image_size`` cannot have.
        WeightsError: the weights of a backbone that is named are not here, or none are.
    """
    current = find_backbone(params.model.backbone)
    asked = params.preprocess.image_size
    wanted: list[tuple[Backbone, int]] = []
    for text in named:
        name, at, size = text.partition("@")
        backbone = _read_backbone(name)
        sizes = (
            [_read_size(size, text)] if at else (sizes_px or [choose_image_size(backbone, asked)])
        )
        wanted += [(backbone, each) for each in sizes]
    if not named:
        size_px = choose_image_size(current, asked)
        wanted += [(current, each) for each in sizes_px or _sizes_around(size_px)]
        for backbone in BACKBONES:
            sizes = sizes_px or [choose_image_size(backbone, asked)]
            wanted += [(backbone, each) for each in sizes if backbone is not current]
    found = [_make(backbone, _checked(size), params) for backbone, size in dict.fromkeys(wanted)]
    here = [candidate for candidate in found if _is_here(candidate, params, has_weights)]
    missing = [candidate for candidate in found if candidate not in here]
    if missing and (named or not here):
        raise WeightsError(describe_missing(missing))
    return ChosenCandidates(sorted(here, key=lambda candidate: not candidate.current), missing)


def describe_missing(missing: Sequence[Candidate]) -> str:
    """Which weights are not here, and how to get those of the first one, in one line."""
    one = missing[0]
    names = ", ".join(dict.fromkeys(candidate.backbone for candidate in missing))
    if one.weights == "file":
        return f"model.weights_file: expected the weights of {one.backbone}, found no file"
    way = tell_way_to_weights(one.backbone, one.cut)
    return f"weights that are not on this machine: {names}; {way}"


def _make(backbone: Backbone, size_px: int, params: Params) -> Candidate:
    current = find_backbone(params.model.backbone)
    weights, cut = params.model.weights, params.model.cut
    if backbone is not current:
        cut = cut if cut == INPUT else AUTO  # blocks have other names there
        weights = "imagenet" if weights == "file" else weights  # the file is another network's
    asked = params.preprocess.image_size
    is_auto = asked == AUTO and size_px == backbone.image_size
    return Candidate(
        backbone.name,
        size_px,
        AUTO if is_auto else str(size_px),
        cut,
        weights,
        backbone is current and size_px == choose_image_size(current, asked),
    )


def _is_here(candidate: Candidate, params: Params, has_weights: HasWeights) -> bool:
    if candidate.weights == "file":
        return Path(params.model.weights_file).is_file()
    return candidate.weights == "none" or has_weights(candidate.backbone)


def _sizes_around(size_px: int) -> Iterator[int]:
    for size in (size_px, size_px - STEP_PX, size_px + STEP_PX):
        if not _fault_of_size(size):
            yield size


def _read_backbone(name: str) -> Backbone:
    try:
        return find_backbone(name)
    except ValueError:
        known = ", ".join(backbone.name for backbone in BACKBONES)
        raise ParamsError(
            f"{name!r}: expected a backbone, such as {BACKBONES[0].name} or "
            f"{BACKBONES[0].name}@224; known: {known}"
        ) from None


def _read_size(text: str, candidate: str) -> int:
    if not text.isdecimal():
        raise ParamsError(f"{candidate!r}: expected MODEL@SIZE with a size in pixels, such as @224")
    return int(text)


def _checked(size_px: int) -> int:
    if fault := _fault_of_size(size_px):
        raise ParamsError(f"preprocess.image_size: {fault}, found {size_px}")
    return size_px


def _fault_of_size(size_px: int) -> str:
    """What is wrong with an image size, as the schema of params.yaml has it; empty: nothing."""
    values: Mapping[str, object] = {"image_size": size_px}
    try:
        PreprocessParams.model_validate(values)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            if fault["loc"] == ("image_size",):
                return str(fault["msg"][0].lower() + fault["msg"][1:])
    return ""
