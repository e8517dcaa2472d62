"""What the server answers: the models of all answers in JSON, and of the description of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from pawprint.registry.resizing import RESIZES, Resize
from pawprint.serving.uploads import FILES, JsonPictures

MODEL_NAME, MODEL_HASH, MODEL_RESIZE = "X-Model-Name", "X-Model-Hash", "X-Model-Resize"
MODEL_HEADERS = {
    MODEL_NAME: {
        "description": "of the model that answered; percent-encoded beyond ASCII",
        "schema": {"type": "string"},
    },
    MODEL_HASH: {
        "description": "of that model, as in /v1/model",
        "schema": {"type": "string"},
    },
    MODEL_RESIZE: {
        "description": "where the square that the model saw lies on the picture. stretch: it is "
        "the picture, stretched; letterbox: around it, both centred; crop: in its centre",
        "schema": {"type": "string", "enum": list(RESIZES)},
    },
}

TAG_PICTURES, TAG_MODELS, TAG_OPERATION = "Pictures", "Models", "Operation"
TAGS = [
    {"name": TAG_PICTURES, "description": "what is in them"},
    {"name": TAG_MODELS, "description": "what answers"},
    {"name": TAG_OPERATION, "description": "for whoever runs the server"},
]


class Schema(BaseModel):
    """An answer is what its description says: a field that is not declared is a fault."""

    model_config = ConfigDict(extra="forbid")


class ClassProbability(Schema):
    class_: str = Field(serialization_alias="class")
    probability: float = Field(ge=0, le=1)


class ClassifiedPicture(Schema):
    name: str | None = Field(description="as the client said, if it did")
    predictions: list[ClassProbability] = Field(description="the likeliest class first")
    unlikeness: float | None = Field(
        ge=0,
        description="how far the picture is from the model's training pictures, over the distance "
        "that few pictures of their kind exceed; null: this model does not tell it",
    )
    unlike: bool | None = Field(
        description="whether that is above the model's unlike_above: then its class should not be "
        "trusted; null: this model does not tell it"
    )
    decided: bool | None = Field(
        description="true: the model may decide on it alone, as `deciding` of `/v1/model` "
        "promises; false: a person should; null: this model does not say what it may decide"
    )


class DecidingAlone(Schema):
    """What a model promises of the pictures that it decides."""

    precision: float = Field(description="the share of them that is right")
    confidence: float = Field(description="with which that is promised, by validation pictures")
    threshold: float | None = Field(
        description="the least probability at which it decides; null: no threshold keeps the "
        "promise, and it decides on no picture"
    )


class UnusablePicture(Schema):
    name: str | None = Field(description="as the client said, if it did")
    error: str = Field(description="why it cannot be used")


class ModelName(Schema):
    name: str
    hash: str


class PredictAnswer(Schema):
    """Of a request: one result for each picture, in their order."""

    request_id: str
    model: ModelName
    results: list[ClassifiedPicture | UnusablePicture]


class Rejected(PredictAnswer):
    """No picture could be used."""

    error: str
    reason: str


class Error(Schema):
    error: str
    reason: str
    request_id: str


class ServedModel(Schema):
    """A model's card, and what the server knows besides."""

    role: str = Field(description="primary or candidate")
    name: str
    title: str = Field(description="what a page calls the model")
    hash: str
    class_names: list[str]
    image_size: int = Field(description="side of the square that the model sees, in pixels")
    resize: Resize = Field(
        description="how a picture becomes this square. stretch: width and height are scaled "
        "independently; letterbox: their ratio is kept, and what is left of the square filled; "
        "crop: their ratio is kept, and the picture's central square seen"
    )
    max_pixels: int = Field(description="pictures with more are refused")
    max_value: int = Field(description="the value that is white in 16-bit pictures; 0: 65535")
    augment: dict[str, Any] = Field(description="how the model's training pictures were changed")
    hashes: dict[str, str] = Field(description="MD5 of what the model was made of, by path")
    metrics: dict[str, Any] = Field(description="on the test split")
    versions: dict[str, str] = Field(description="of the packages that made the model")
    val_log_losses: dict[str, float] = Field(
        description="of all models, where this one was exported as the best of them"
    )
    tta: int = Field(
        description="2: its answers are means of those for a picture and for its mirror image, and "
        "its metrics are of these; heatmaps are of the picture as it is. 1: of the picture alone"
    )
    unlike_above: float | None = Field(
        description="the unlikeness above which a picture is unlike the training pictures; null: "
        "this model does not tell it"
    )
    deciding: DecidingAlone | None = Field(
        description="what the model may decide alone; null: it does not say that"
    )
    stale: bool = Field(
        description="when the server started, the pipeline beside it had other files than those "
        "that this model was exported from, or a better model; `dvc repro` exports it anew"
    )


class ServerLimits(Schema):
    max_files: int
    max_body_bytes: int


class ModelsAnswer(Schema):
    models: list[ServedModel]
    candidate_share: float
    shadow: bool
    limits: ServerLimits


class Status(Schema):
    status: str


def render(answer: Schema, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON, of a model that has checked its values."""
    content = answer.model_dump_json(by_alias=True)
    return Response(content, status, headers, media_type="application/json")


def pictures_body(max_files: int) -> dict[str, Any]:
    """The description of a request that holds pictures."""
    form = {
        "type": "object",
        "required": [FILES],
        "properties": {
            FILES: {
                "type": "array",
                "minItems": 1,
                "maxItems": max_files,
                "items": {"type": "string", "format": "binary"},
            },
            "top": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5},
        },
    }
    json = JsonPictures.model_json_schema()
    pictures = json.pop("$defs")["JsonPicture"]
    json["properties"]["images"] |= {"items": pictures, "maxItems": max_files}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": json}}
    return {"requestBody": {"required": True, "content": content}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The descriptions of answers that are errors."""
    texts = {
        400: "The form, or the header Host, is malformed.",
        401: "The API key is missing or wrong.",
        403: "A page of another origin asks, by the browser of its visitor.",
        408: "The body did not arrive in time.",
        413: "The body is too large, or holds too many pictures or fields.",
        415: "Neither a form nor JSON.",
        421: "The header Host names another server.",
        422: "The request does not say what it must, or its pictures cannot be used.",
        429: "Too much is waiting: try again after a while.",
        500: "A fault of the server: its log has the reason under the request_id.",
        503: "Starting, stopping, too slow, or too many connections: try again after a while.",
    }
    return {status: {"model": Error, "description": texts[status]} for status in statuses}
