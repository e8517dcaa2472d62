"""The requests that the server understands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from pawprint.answers.ranking import rank_classes
from pawprint.inference.overlays import blend_heatmap, heat_layer
from pawprint.registry.models import find_model
from pawprint.runner.errors import ImageError
from pawprint.serving import schemas
from pawprint.serving.limits import Refusal
from pawprint.serving.models import Served
from pawprint.serving.pictures import encode_png
from pawprint.serving.service import Seen, Service
from pawprint.serving.uploads import Upload, Uploads, read_form, read_json
from pawprint.suggestions.kept import render_kept

Client = Annotated[
    str | None,
    Header(alias="X-Client-ID", description="who sends it always meets the same of two models"),
]
SMALL_BODY_BYTES = 500_000  # a smaller form is read at once, in less time than a thread takes
View = Literal["layer", "overlay", "input"]
# Describes the key only; Access asks for it, before anything else is looked at
KEY = HTTPBearer(scheme_name="key", description="the server's API key", auto_error=False)


def add_routes(app: FastAPI, service: Service) -> None:
    """Give an application the requests of a service."""
    router = APIRouter()
    keyed = APIRouter(dependencies=[Security(KEY)] if service.settings.api_key else [])
    body = schemas.pictures_body(service.settings.max_pictures)
    reading = schemas.refusals(400, 401, 403, 408, 413, 415, 421, 429, 500, 503)

    @keyed.post(
        "/v1/predict",
        tags=[schemas.TAG_PICTURES],
        summary="Classify pictures",
        response_model=schemas.PredictAnswer,
        responses={**reading, 422: {"model": schemas.Rejected | schemas.Error}},
        openapi_extra=body,
    )
    async def predict(request: Request, client: Client = None) -> Response:
        _check_ready(service)
        served = _choose(service, request, client)
        async with service.limits.body(request) as content:
            uploads = await _read_uploads(service, request, content)
            with service.limits.queued(len(uploads.files)):
                async with service.limits.time():
                    results = await service.classify(
                        served, uploads.files, request.state.request_id
                    )
        return _answer(request, served, uploads, results)

    @keyed.post(
        "/v1/gradcam",
        tags=[schemas.TAG_PICTURES],
        summary="Where a model looks: a PNG",
        response_class=Response,
        responses={
            200: {
                "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
                "headers": schemas.MODEL_HEADERS,
            },
            **reading,
            **schemas.refusals(422),
        },
        openapi_extra=schemas.pictures_body(1),
    )
    async def gradcam(
        request: Request,
        class_: Annotated[
            str | None, Query(alias="class", description="default: the most probable one")
        ] = None,
        view: Annotated[
            View,
            Query(
                description="layer: RGBA at the size of the model's input, to be laid over the "
                "part of the picture that X-Model-Resize tells; overlay: that over the square that "
                "the model sees; input: this square"
            ),
        ] = "layer",
        client: Client = None,
        opacity: Annotated[float, Query(ge=0, le=1, description="of an overlay")] = 0.5,
    ) -> Response:
        _check_ready(service)
        served = _choose(service, request, client)
        class_number = _find_class(served, class_)
        async with service.limits.body(request) as content:
            uploads = await _read_uploads(service, request, content, most=1)
            with service.limits.queued(1):
                async with service.limits.time():
                    png = await _draw(
                        service, served, uploads.files[0], class_number, view, opacity
                    )
        headers = {
            schemas.MODEL_NAME: quote(served.classifier.card.name),
            schemas.MODEL_HASH: served.hash,
            schemas.MODEL_RESIZE: served.classifier.card.resize,
        }
        return Response(png, media_type="image/png", headers=headers)

    @keyed.get(
        "/v1/model",
        tags=[schemas.TAG_MODELS],
        summary="Which models answer",
        response_model=schemas.ModelsAnswer,
        responses=schemas.refusals(400, 401, 403, 421, 500, 503),
    )
    async def model() -> schemas.ModelsAnswer:
        return _describe(service)

    @router.get(
        "/healthz",
        tags=[schemas.TAG_OPERATION],
        summary="Whether the process is alive",
        response_model=schemas.Status,
    )
    async def healthz() -> schemas.Status:
        return schemas.Status(status="alive")

    @router.get(
        "/readyz",
        tags=[schemas.TAG_OPERATION],
        summary="Whether requests are welcome",
        response_model=schemas.Status,
        responses={503: {"model": schemas.Status}},
    )
    async def readyz() -> schemas.Status | Response:
        if service.ready:
            return schemas.Status(status="ready")
        status = schemas.Status(status="starting, stopping, or every decoder stuck")
        return schemas.render(status, 503, {"Retry-After": "1"})

    @keyed.get(
        "/metrics",
        tags=[schemas.TAG_OPERATION],
        summary="Counters for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **schemas.refusals(400, 401, 403, 421, 500, 503),
        },
    )
    async def metrics() -> Response:
        return Response(service.monitor.render(), media_type=service.monitor.content_type)

    if ring := service.ring:

        @keyed.get(
            "/v1/kept",
            tags=[schemas.TAG_OPERATION],
            summary="What was found in the last pictures, for `python -m pawprint suggest`",
            response_class=Response,
            responses={
                200: {
                    "content": {"application/jsonl": {"schema": {"type": "string"}}},
                    "description": "First the model and its classes, then a line a picture: "
                    "sha256, name, request_id, time, probabilities, and features (float32 in "
                    "base64).",
                },
                **schemas.refusals(400, 401, 403, 421, 500, 503),
            },
        )
        async def kept() -> Response:
            content = await service.run(render_kept, ring.list_pictures())
            return Response(content, media_type="application/jsonl")

    app.include_router(keyed)
    app.include_router(router)


def _choose(service: Service, request: Request, client: str | None) -> Served:
    served = service.models.choose(client or request.state.request_id)
    request.state.model = served.role
    return served


def _check_ready(service: Service) -> None:
    if not service.started:
        raise Refusal(503, "starting", "the models are being started", {"Retry-After": "1"})


async def _read_uploads(
    service: Service, request: Request, content: bytes, most: int | None = None
) -> Uploads:
    most = most or service.settings.max_pictures
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = (request.headers["content-type"], content, most)
        small = len(content) < SMALL_BODY_BYTES
        uploads = read_form(*form) if small else await service.run(read_form, *form)
    elif kind == "application/json":
        uploads = await service.run(read_json, content, most)
    else:
        raise Refusal(415, "type", "expected Content-Type multipart/form-data or application/json")
    request.state.pictures = len(uploads.files)
    return uploads


def _answer(
    request: Request, served: Served, uploads: Uploads, results: list[Seen | ImageError]
) -> Response:
    answer = schemas.PredictAnswer(
        request_id=request.state.request_id,
        model=schemas.ModelName(name=served.classifier.card.name, hash=served.hash),
        results=[
            _describe_result(upload.name, result, served, uploads.top)
            for upload, result in zip(uploads.files, results, strict=True)
        ],
    )
    if any(isinstance(result, Seen) for result in results):
        return schemas.render(answer, 200)
    reason = request.state.reason = "pictures"
    rejected = schemas.Rejected(**dict(answer), error="no picture can be used", reason=reason)
    return schemas.render(rejected, 422)


def _describe_result(
    name: str | None, result: Seen | ImageError, served: Served, top: int
) -> schemas.ClassifiedPicture | schemas.UnusablePicture:
    if isinstance(result, ImageError):
        return schemas.UnusablePicture(name=name, error=result.reason(served.limit_name))
    ranking = rank_classes(result.said.probs, served.class_names, top)
    predictions = [schemas.ClassProbability(class_=best, probability=p) for best, p in ranking]
    told = result.said.unlikeness
    return schemas.ClassifiedPicture(
        name=name,
        predictions=predictions,
        unlikeness=told.ratio if told else None,
        unlike=told.unlike if told else None,
        decided=result.said.decided,
    )


def _find_class(served: Served, name: str | None) -> int:
    if name is None:
        return -1
    if name not in served.class_names:
        raise Refusal(422, "class", f"class: expected one of {', '.join(served.class_names)}")
    return served.class_names.index(name)


async def _draw(
    service: Service, served: Served, upload: Upload, class_: int, view: View, opacity: float
) -> bytes:
    try:
        image = await service.decode(served, upload, service.open_allowance())
    except ImageError as error:
        raise Refusal(422, "pictures", error.reason(served.limit_name)) from None
    if view == "input":
        return await service.run(encode_png, image)
    heatmap = await service.look(served, image, class_)
    if view == "overlay":
        return await service.run(lambda: encode_png(blend_heatmap(image, heatmap, opacity)))
    return await service.run(lambda: encode_png(heat_layer(heatmap, len(image))))


def _describe(service: Service) -> schemas.ModelsAnswer:
    settings, models = service.settings, service.models
    return schemas.ModelsAnswer(
        models=[_describe_model(served) for served in models.all()],
        candidate_share=models.share if models.candidate else 0.0,
        shadow=models.shadow,
        limits=schemas.ServerLimits(
            max_files=settings.max_pictures, max_body_bytes=settings.max_body_bytes
        ),
    )


def _describe_model(served: Served) -> schemas.ServedModel:
    card = served.classifier.card
    found = find_model(card.name)
    values = {
        **asdict(card),
        "role": served.role,
        "title": found.title if found else card.name,
        "hash": served.hash,
        "max_pixels": served.max_pixels,
        "deciding": asdict(served.rule) if served.rule else None,
        "stale": bool(served.stale),
    }
    return schemas.ServedModel(**values)
