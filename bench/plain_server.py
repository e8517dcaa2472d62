"""The plain way to serve: a model behind FastAPI as a good Keras tutorial writes it.

The model is loaded once. Each request is decoded by Pillow and shown to the model by itself, in one
of FastAPI's threads: with an `async` handler it would wait for all before it. Tutorials ask Keras
by `predict`, some by calling the model (`call`), which was slower; `predict_on_batch` skips what
`predict` does for many batches. `bench.load` starts it:

    python -m bench.plain_server --model models/finetuned.keras --port 8001 --call predict
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

if TYPE_CHECKING:
    import keras

Call = Callable[[np.ndarray], np.ndarray]
"""Pixels uint8 [1, size, size, 3] in 0...255 → probabilities float32 [1, C]."""


def keras_calls(model: keras.Model, views: int) -> dict[str, Call]:
    """The ways in which Keras itself runs a model, by their names.

    Args:
        model: a classifier of the pipeline.
        views: 2: the answer is the mean for the picture and its mirror image, shown as one batch.
    """
    ways: dict[str, Callable[[np.ndarray], Any]] = {
        "predict": lambda pixels: model.predict(pixels, verbose=0),
        "call": lambda pixels: model(pixels, training=False),
        "predict_on_batch": model.predict_on_batch,
    }

    def answer(way: Callable[[np.ndarray], Any], pixels: np.ndarray) -> np.ndarray:
        batch = pixels if views == 1 else np.concatenate([pixels, pixels[:, :, ::-1]])
        found = way(batch)
        # The second output is the unlikeness
        probs = np.asarray(found[0] if isinstance(found, list | tuple) else found)
        return probs.mean(axis=0, keepdims=True)

    return {name: partial(answer, way) for name, way in ways.items()}


CALLS = ("predict", "call", "predict_on_batch")


def decode(content: bytes, size_px: int) -> np.ndarray:
    """A picture's bytes → uint8 [size_px, size_px, 3], RGB in 0...255."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (2 * size_px, 2 * size_px))
        square = image.convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(square)


def build_app(call: Call, class_names: list[str], size_px: int) -> FastAPI:
    """The whole application: one request, one picture, one run of the model."""
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/predict")
    def predict(files: UploadFile) -> dict[str, Any]:
        pixels = decode(files.file.read(), size_px)
        probs = call(pixels[np.newaxis])[0]
        order = np.argsort(-probs)[:5]
        predictions = [{"class": class_names[i], "probability": float(probs[i])} for i in order]
        return {"results": [{"name": files.filename, "predictions": predictions}]}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plain_server", description=__doc__)
    parser.add_argument("--model", required=True, help="a .keras file of the pipeline")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--call", choices=CALLS, required=True, help="how Keras is asked")
    parser.add_argument("--views", type=int, choices=(1, 2), default=1, help="see evaluate.tta")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from pawprint.networks.model_files import read_model_info

    info = read_model_info(options.model)
    model = keras.models.load_model(options.model, compile=False)
    call = keras_calls(model, options.views)[options.call]
    call(np.zeros((1, info.image_size, info.image_size, 3), np.uint8))  # the first takes longest
    app = build_app(call, info.class_names, info.image_size)
    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
