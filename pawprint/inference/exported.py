"""The files of an exported model: each is read once, and what was checked is what is used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pawprint.inference.gradcam import TailLayer, parse_tail
from pawprint.networks.graph_files import MAX_WEIGHTS_BYTES, MAX_XML_BYTES, check_xml, read_graph
from pawprint.runner.bounds import (
    BLOCK_BYTES,
    MAX_JSON_BYTES,
    open_bounded,
    parse_json,
    read_bounded,
)
from pawprint.runner.errors import ModelError, one_line

if TYPE_CHECKING:
    import openvino as ov

CARD, GRAPH, WEIGHTS, TAIL = "model.json", "model.xml", "model.bin", "gradcam.npz"


def read_card(directory: Path) -> tuple[dict[str, Any], str]:
    """Read the card, which nobody has looked into yet.

    Returns:
        Its JSON, and its SHA-256 in hexadecimal. As the card holds the digests of the other files,
        this changes with each of them.

    Raises:
        ModelError: it is missing, damaged or absurdly large.
    """
    content = _read(directory / CARD, MAX_JSON_BYTES)
    try:
        card = parse_json(content)
        if not isinstance(card, dict):
            raise ValueError(f"expected an object, found a {type(card).__name__}")
    except ValueError as error:
        raise damaged(directory / CARD, error) from None
    return card, hashlib.sha256(content).hexdigest()


def read_network(directory: Path, digests: dict[str, Any]) -> tuple[ov.Model, list[TailLayer]]:
    """Read the graph and the layers behind its feature map; later changes of the files are no more.

    Args:
        directory: of the model.
        digests: what the card says: the SHA-256 of each file, in hexadecimal.

    Raises:
        ModelError: a file is missing, damaged, absurdly large, or not that of the card.
    """

    def read(name: str, most_bytes: int, expected_bytes: int | None = None) -> bytes:
        path, other = directory / name, f"its SHA-256 is not that of {CARD}"
        with _refused_as_damaged(path), open_bounded(path, most_bytes) as file:
            size = os.fstat(file.fileno()).st_size
            if expected_bytes not in (None, size):
                raise ValueError(f"{size:,} bytes, but {GRAPH} refers to {expected_bytes:,}")
            # A file of anything is not worth the memory
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            if digest.hexdigest() != digests.get(name):
                raise ValueError(other)
        content = _read(path, most_bytes)
        if hashlib.sha256(content).hexdigest() != digests.get(name):  # it has changed since
            raise damaged(path, other)
        return content

    name = GRAPH
    try:
        xml = read(GRAPH, MAX_XML_BYTES)
        graph = read_graph(xml, read(WEIGHTS, MAX_WEIGHTS_BYTES, check_xml(xml)))
        name = TAIL
        return graph, parse_tail(read(TAIL, MAX_WEIGHTS_BYTES))
    except (ValueError, RuntimeError) as error:
        raise damaged(directory / name, error) from None


def _read(path: Path, most_bytes: int) -> bytes:
    with _refused_as_damaged(path):
        return read_bounded(path, most_bytes)


@contextmanager
def _refused_as_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise damaged(path, error.strerror) from None
    except ValueError as error:
        raise damaged(path, error) from None


def damaged(path: Path, reason: object) -> ModelError:
    """Says of a file why no model can be opened from it."""
    text = f"not an exported model of Pawprint ({one_line(reason)})"
    return ModelError(f"{path}: {text}; run dvc repro")
