"""What params.yaml holds: typed, frozen sections, which refuse whatever does not fit.

No key has a default here: params.yaml is the only place where a value stands.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pawprint.registry.backbones import AUTO, BACKBONES, check_cut, find_backbone
from pawprint.registry.models import ENSEMBLE, MODEL_NAMES
from pawprint.registry.resizing import Resize

Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=10)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of params.yaml: frozen, no unknown keys, no conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _known_encoding(value: str) -> str:
    try:
        b"a".decode(value or "utf-8")  # of no bytes, Python does not look for the codec
    except (LookupError, ValueError):
        raise ValueError(
            f"data.names_encoding: expected '' or an encoding that Python knows, such as cp932, "
            f"gb18030 or cp1252, found {value!r}"
        ) from None
    return value


class DataParams(Section):
    source: Literal["sample", "kaggle", "archive", "url", "folder"]
    sample_images: Annotated[int, Field(ge=20, le=1_000_000)]
    sample_seed: Seed
    kaggle_competition: str
    kaggle_dataset: str
    archive: str
    names_encoding: Annotated[str, AfterValidator(_known_encoding)]
    folder: str
    url: str
    sha256: Annotated[str, Field(pattern="^([0-9a-fA-F]{64})?$")]
    timeout_s: Annotated[float, Field(gt=0, le=3600)]
    max_files: Annotated[int, Field(ge=1, le=100_000_000)]
    max_gb: Annotated[float, Field(gt=0, le=1e6)]
    max_file_mb: Annotated[float, Field(gt=0, le=2000)]  # Zip64 is not asked for
    max_ratio: Annotated[float, Field(ge=1, le=1e6)]

    @model_validator(mode="after")
    def _keys_of_archives_are_used(self) -> DataParams:
        if self.names_encoding and self.source in ("sample", "folder"):
            raise ValueError(
                f"data.names_encoding: found {self.names_encoding!r}, which data.source = "
                f"{self.source} does not read: it is of archives; set it back, "
                "-S \"data.names_encoding=''\""
            )
        if self.sha256 and self.source not in ("archive", "url"):
            raise ValueError(
                f"data.sha256: found a sum, which data.source = {self.source} does not check: "
                "set it back, -S \"data.sha256=''\""
            )
        return self

    @model_validator(mode="after")
    def _named_source_is_used(self) -> DataParams:
        """Refuses a source that is named and not read, unless the one that is read is named too."""
        changed = self._named_sources()
        if self.source in (source for source, *_ in changed):
            return self  # as where one goes back and forth between two of them
        for source, key, value, unset in changed:
            raise ValueError(
                f"data.{key}: found {value!r}, which data.source = {self.source} does not read: "
                f"add -S data.source={source} to use it, or set it back: "
                f'-S "data.{key}={unset or repr(unset)}"'
            )
        return self

    def unread_sources(self) -> list[str]:
        """The keys of sources that are named, such as `archive`, and not read."""
        return [key for source, key, *_ in self._named_sources() if source != self.source]

    def _named_sources(self) -> list[tuple[str, str, str, str]]:
        """Those that are set: source, its key, its value, and what stands there unset."""
        named = [
            ("folder", "folder", self.folder, "data/source"),
            ("archive", "archive", self.archive, "data/source"),
            ("url", "url", self.url, ""),
            ("kaggle", "kaggle_dataset", self.kaggle_dataset, ""),
            ("kaggle", "kaggle_competition", self.kaggle_competition, "dogs-vs-cats"),
        ]
        return [entry for entry in named if entry[2] != entry[3]]


def _finds_a_group(value: str) -> str:
    try:
        fits = not value or re.compile(value).groups > 0
    except re.error as error:
        raise ValueError(
            f"split.groups_pattern: expected a regular expression, found {value!r} ({error})"
        ) from None
    if not fits:
        raise ValueError(
            "split.groups_pattern: expected brackets around what names the group, as in "
            f"'(patient[0-9]+)'; found {value!r}"
        )
    return value


class SplitParams(Section):
    train: OpenShare
    val: OpenShare
    test: OpenShare
    seed: Seed
    near_duplicates: bool
    similarity: Annotated[float, Field(ge=0.5, le=1)]  # below, different pictures are alike
    groups_file: Annotated[str, Field(min_length=1)]
    groups_pattern: Annotated[str, AfterValidator(_finds_a_group)]
    decisions: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitParams:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"split.train + split.val + split.test must be 1, "
                f"found {self.train} + {self.val} + {self.test} = {total:.6g}"
            )
        return self


def _known_size(value: Any) -> Any:
    """In one message, as ``_known_class_weights``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != AUTO and not (whole and 32 <= value <= 2048):
        raise PydanticCustomError("image_size", "expected auto, or a whole number from 32 to 2048")
    return value


class PreprocessParams(Section):
    image_size: Annotated[
        Annotated[int, Field(ge=32, le=2048)] | Literal["auto"], BeforeValidator(_known_size)
    ]
    resize: Resize
    max_bad: Share
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)]  # Pillow itself refuses more
    max_value: Annotated[int, Field(ge=0, le=65_535)]


class AugmentParams(Section):
    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    zoom: Annotated[float, Field(ge=0, le=0.9)]
    flip: bool
    brightness: Share
    contrast: Share
    saturation: Share


def _known_weights(value: Any) -> Any:
    if value not in ("imagenet", "none", "file"):
        raise ValueError(
            f"model.weights: expected imagenet, none or file, found {value!r}; a path goes to "
            "model.weights_file: -S model.weights=file -S model.weights_file=PATH"
        )
    return value


def _known_class_weights(value: Any) -> Any:
    """In one message: a union would tell of each of its types what it lacks."""
    numbers = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < math.inf for v in value
    )
    if value not in ("none", "balanced") and not (numbers and value):
        raise PydanticCustomError(
            "class_weights",
            "expected none, balanced, or a list of a positive number for each class",
        )
    return value


def _known_model(value: str) -> str:
    if value not in ("best", *MODEL_NAMES):
        known = ", ".join(("best", *MODEL_NAMES))
        raise ValueError(f"export.model: expected one of {known}; found {value!r}")
    return value


class ModelParams(Section):
    # examples and enum: for editors, see pawprint/runner/schema.py
    backbone: Annotated[str, Field(examples=[backbone.name for backbone in BACKBONES])]
    weights: Annotated[Literal["imagenet", "none", "file"], BeforeValidator(_known_weights)]
    weights_file: Annotated[str, Field(min_length=1)]
    pooling: Literal["avg", "flatten"]
    cut: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _is_a_backbone_with_this_cut(self) -> ModelParams:
        check_cut(find_backbone(self.backbone), self.cut)
        return self


class FeaturesParams(Section):
    views: Annotated[int, Field(ge=1, le=100)]
    seed: Seed
    batch_size: Positive
    precision: Literal["float32", "bfloat16"]
    max_gb: NonNegative


class TrainingParams(Section):
    """What every training stage has."""

    epochs: Positive
    batch_size: Positive
    lr: Rate
    weight_decay: NonNegative
    schedule: Literal["cosine", "plateau", "constant"]
    warmup: BelowOne
    patience: Positive
    accumulate: Positive
    label_smoothing: BelowOne
    class_weights: Annotated[
        Literal["none", "balanced"] | list[float], BeforeValidator(_known_class_weights)
    ]
    precision: Literal["auto", "float32", "bfloat16"]
    seed: Seed


class BaselineParams(TrainingParams):
    image_size: Annotated[int, Field(ge=32, le=1024)]
    filters: Annotated[list[Positive], Field(min_length=1, max_length=5)]
    dense: Positive
    dropout: BelowOne


class HeadParams(TrainingParams):
    hidden: Annotated[list[Positive], Field(max_length=4)]
    batch_norm: bool
    dropout: BelowOne


class CrossvalParams(Section):
    folds: Annotated[int, Field(ge=2, le=100)]
    seed: Seed


class SuspectsParams(Section):
    most: Positive
    unlike: Share
    similarity: Annotated[float, Field(ge=0.5, le=1)]
    dark: BelowOne
    blurred: BelowOne
    tiny: BelowOne
    shape: NonNegative
    shortcut: OpenShare
    neighbours: Annotated[int, Field(ge=1, le=100)]
    batch_size: Positive


class FinetuneParams(TrainingParams):
    head_lr: Rate
    freeze_depthwise: bool
    clip_norm: NonNegative
    blend: Annotated[float, Field(gt=0, le=1)]


def _known_rank(value: Any) -> Any:
    """In one message, as ``_known_class_weights``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != AUTO and not (whole and 1 <= value <= 4096):
        raise PydanticCustomError("rank", "expected auto, or a whole number from 1 to 4096")
    return value


class UnlikenessParams(Section):
    enabled: bool
    rank: Annotated[
        Annotated[int, Field(ge=1, le=4096)] | Literal["auto"], BeforeValidator(_known_rank)
    ]
    reject: Annotated[float, Field(ge=1e-4, le=0.5)]
    k: Annotated[float, Field(gt=0, le=1e6)]


class EnsembleParams(Section):
    picks: Annotated[int, Field(ge=0, le=1000)]
    files: Annotated[str, Field(min_length=1)]


class EvaluateParams(Section):
    batch_size: Positive
    tta: Annotated[int, Field(ge=1, le=2)]
    confidence: OpenShare
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    others: Annotated[str, Field(min_length=1)]


class DecidingParams(Section):
    precision: OpenShare
    confidence: OpenShare
    sets: OpenShare
    window: Annotated[int, Field(ge=20, le=100_000)]
    false_alarms: Annotated[float, Field(ge=1e-6, le=0.5)]


class ExportParams(Section):
    model: Annotated[
        str,
        AfterValidator(_known_model),
        Field(json_schema_extra={"enum": ["best", *MODEL_NAMES]}),
    ]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    tie: Share
    min_accuracy: Share
    int8: bool
    calibration: Positive
    int8_min_agreement: Share


class GradcamParams(Section):
    fixed: Annotated[int, Field(ge=0, le=100)]
    worst: Annotated[int, Field(ge=0, le=100)]
    opacity: Share


class ReportParams(Section):
    wrong: Annotated[int, Field(ge=0, le=1000)]
    suspects: Annotated[int, Field(ge=0, le=1000)]
    others: Annotated[int, Field(ge=0, le=1000)]
    thresholds: Annotated[list[OpenShare], Field(max_length=20)]
    name: str
    license: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
    intended_use: str
    limits: str


class RuntimeParams(Section):
    threads: Annotated[int, Field(ge=1, le=1024)]
    engine: Literal["auto", "openvino", "tensorflow"]


def check_address(value: str) -> str:
    """The address of a Ray cluster as it is; ValueError if it is none."""
    host, _, port = value.rpartition(":")
    named = host and "/" not in host and port.isdecimal() and 0 < int(port) < 65536
    if value != "auto" and not named:
        raise ValueError(f"expected auto, or host:port of a Ray cluster, found {value!r}")
    return value


def _is_an_address(value: str) -> str:
    try:
        return check_address(value)
    except ValueError as error:
        raise ValueError(f"compute.address: {error}") from None


class ComputeParams(Section):
    engine: Literal["local", "ray"]
    address: Annotated[str, AfterValidator(_is_an_address)]
    mixed: bool
    timeout_s: Annotated[float, Field(ge=1, le=86400)]


class Params(Section):
    """params.yaml as a whole; each field is one of its sections."""

    # Two names can be no keys: see tests/test_private_sides.py

    data: DataParams
    split: SplitParams
    preprocess: PreprocessParams
    augment: AugmentParams
    model: ModelParams
    features: FeaturesParams
    baseline: BaselineParams
    head: HeadParams
    crossval: CrossvalParams
    suspects: SuspectsParams
    finetune: FinetuneParams
    unlikeness: UnlikenessParams
    ensemble: EnsembleParams
    evaluate: EvaluateParams
    deciding: DecidingParams
    export: ExportParams
    gradcam: GradcamParams
    report: ReportParams
    runtime: RuntimeParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _views_differ(self) -> Params:
        if self.features.views > 1 and not any(self.augment.model_dump().values()):
            raise ValueError(
                f"features.views: found {self.features.views}, but every augment.* is off, so that "
                "all views would be the same picture; set it to 1, or one of augment.*"
            )
        return self

    @model_validator(mode="after")
    def _mirror_images_are_of_their_class(self) -> Params:
        if self.evaluate.tta == 2 and not self.augment.flip:
            raise ValueError(
                "evaluate.tta: found 2, which averages each picture with its mirror image, but "
                "augment.flip is false: none was trained on; set it to 1, or augment.flip to true"
            )
        return self

    @model_validator(mode="after")
    def _exported_ensemble_is_made(self) -> Params:
        if self.export.model == ENSEMBLE.name and not self.ensemble.picks:
            raise ValueError(
                "export.model: found ensemble, but ensemble.picks is 0, so that there is none; set "
                "ensemble.picks to the number of picks, such as 10, or export.model to best"
            )
        return self
