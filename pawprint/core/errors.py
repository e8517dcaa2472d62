"""Every error that a user can cause or meet.

    PawprintError               one line: what was expected, what was found, what to do
    ├── ParamsError             params.yaml: an unknown, missing, mistyped or impossible key
    ├── SourceError             the pictures cannot be fetched
    │   ├── LayoutError         they are there, but not in a layout that names their classes
    │   └── KaggleError         Kaggle refused, or could not be reached
    ├── ImageError              one picture cannot be decoded (it is quarantined)
    ├── DataError               the data set as a whole cannot be used
    ├── WeightsError            pretrained weights are missing, damaged or of another network
    └── ModelError              a network or a model file cannot be used as asked

Stages print the message and exit with code 1; no stack trace.
"""


class PawprintError(Exception):
    """Base of all errors that are reported in one line."""


class ParamsError(PawprintError):
    """A key of params.yaml is unknown, missing, mistyped or out of range."""


class SourceError(PawprintError):
    """The pictures cannot be fetched from their source."""


class LayoutError(SourceError):
    """The files are readable, but their layout does not name the classes."""


class KaggleError(SourceError):
    """Kaggle refused the request, or could not be reached."""


class ImageError(PawprintError):
    """One picture cannot be decoded; its message is the reason for its quarantine."""


class DataError(PawprintError):
    """The data set as a whole cannot be used."""


class WeightsError(PawprintError):
    """Pretrained weights are missing, damaged or made for another network."""


class ModelError(PawprintError):
    """A network cannot be built, or a model file cannot be used, as asked."""
