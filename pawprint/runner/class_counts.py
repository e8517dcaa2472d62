"""Whether the lists of class weights fit the classes: params.yaml alone does not tell."""

from __future__ import annotations

from collections.abc import Sequence

from pawprint.runner.errors import ParamsError
from pawprint.runner.params import Params, TrainingParams

_MOST_NAMED = 20  # classes, and numbers, in a message


def check_all_class_weights(params: Params, class_names: Sequence[str]) -> None:
    """Refuse lists of class weights of the wrong length, of all trainings.

    Each stage that comes to know the classes calls this before it begins, so that none works for a
    training that will be refused. It changes no result: no stage depends on what it reads here.

    Args:
        params: all of them.
        class_names: c names, in the order of the labels.

    Raises:
        ParamsError: see ``check_class_weights``.
    """
    for name, section in params:
        if isinstance(section, TrainingParams):
            check_class_weights(section, name, class_names)


def check_class_weights(
    section: TrainingParams, section_name: str, class_names: Sequence[str]
) -> None:
    """Refuse a list of class weights of the wrong length.

    Args:
        section: of a training.
        section_name: of it, for the message.
        class_names: c names, in the order of the labels.

    Raises:
        ParamsError: there are not as many numbers as classes.
    """
    weights = section.class_weights
    if isinstance(weights, list) and len(weights) != len(class_names):
        raise ParamsError(
            f"params.yaml: {section_name}.class_weights: expected {len(class_names)} numbers, one "
            f"for each of {_some(class_names)}, in this order; "
            f"found {len(weights)}: [{_some(weights)}]"
        )


def _some(values: Sequence[object]) -> str:
    more = ", ..." if len(values) > _MOST_NAMED else ""
    return ", ".join(map(str, values[:_MOST_NAMED])) + more
