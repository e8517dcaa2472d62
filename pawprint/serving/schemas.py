"""What the server answers, for its description in /openapi.json."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pawprint.serving.uploads import FILES, JsonPictures

MODEL_NAME, MODEL_HASH = "X-Model-Name", "X-Model-Hash"
MODEL_HEADERS = {
    MODEL_NAME: {
        "description": "of the model that answered; percent-encoded beyond ASCII",
        "schema": {"type": "string"},
    },
    MODEL_HASH: {
        "description": "of that model, as in /v1/model",
        "schema": {"type": "string"},
    },
}


class Prediction(BaseModel):
    class_: str = Field(alias="class")
    probability: float = Field(ge=0, le=1)


class Result(BaseModel):
    """Of one picture: its predictions, or an error and why."""

    name: str | None = None
    predictions: list[Prediction] | None = None
    error: str | None = None


class ModelName(BaseModel):
    name: str
    hash: str


class Answer(BaseModel):
    """Of a request: one result for each picture, in their order."""

    request_id: str
    model: ModelName
    results: list[Result]


class Rejected(Answer):
    """No picture could be used."""

    error: str
    reason: str


class Error(BaseModel):
    error: str
    reason: str
    request_id: str


class ModelCard(BaseModel):
    role: str
    name: str
    hash: str
    class_names: list[str]
    image_size: int
    max_pixels: int
    hashes: dict[str, str]
    metrics: dict[str, Any]
    versions: dict[str, str]


class ServerLimits(BaseModel):
    max_files: int
    max_body_bytes: int


class ModelAnswer(BaseModel):
    models: list[ModelCard]
    candidate_share: float
    shadow: bool
    limits: ServerLimits


class Status(BaseModel):
    status: str


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
        400: "The form is malformed.",
        401: "The API key is missing or wrong.",
        408: "The body did not arrive in time.",
        413: "The body is too large, or holds too many pictures.",
        415: "Neither a form nor JSON.",
        422: "The request does not say what it must, or its pictures cannot be used.",
        429: "Too much is waiting: try again after a while.",
        503: "Starting, stopping, too slow, or too many connections: try again after a while.",
    }
    return {status: {"model": Error, "description": texts[status]} for status in statuses}
