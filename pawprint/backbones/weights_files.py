"""Files of weights that a user names: read once and looked at before Keras loads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawprint.runner.bounds import check_h5, copy_bounded, open_stored_zip, read_member

MAX_WEIGHTS_FILE_BYTES = 2_000_000_000
_IN_KERAS_FILE = "model.weights.h5"


@contextmanager
def checked_weights(path: str) -> Iterator[str]:
    """A copy of a file of weights, which Keras can load; it is deleted at the end of the block.

    Args:
        path: of a ``.h5`` or ``.hdf5`` file, or of a ``.keras`` file, whose weights it takes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is of another kind, damaged or absurdly large, leads to other files, or one
            of its numbers is not finite.
    """
    source = Path(path)
    if source.suffix not in (".h5", ".hdf5", ".keras"):
        raise ValueError("expected a file .h5, .hdf5 or .keras")
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, source.name)
        copy_bounded(source, copy, MAX_WEIGHTS_FILE_BYTES)
        if copy.suffix == ".keras":
            with open(copy, "rb") as file, open_stored_zip(file) as archive:
                content = read_member(archive, _IN_KERAS_FILE, MAX_WEIGHTS_FILE_BYTES)
            copy = Path(directory, _IN_KERAS_FILE)
            copy.write_bytes(content)
        check_h5(copy)
        yield str(copy)
