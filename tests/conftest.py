"""What several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawprint.params import Params, load_params
from pawprint.runtime import start_tensorflow


@pytest.fixture(scope="session")
def tensorflow() -> None:
    """TensorFlow as every stage starts it; it must come before the first tensor of the session."""
    start_tensorflow(threads=2, seed=0)


@pytest.fixture(scope="session")
def committed() -> Params:
    """The parameters of the repository."""
    return load_params(Path(__file__).resolve().parent.parent / "params.yaml")
