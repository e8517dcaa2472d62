"""All of params.yaml → nothing: refuses what no other stage would notice, such as a key too many.

Every stage checks the whole file before it begins. This one runs where a change concerns no other.
"""

from pathlib import Path

from pawprint.runner.errors import ParamsError
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage


def main(params: Params) -> None:
    weights = params.model.weights_file
    if params.model.weights == "file" and not Path(weights).is_file():
        raise ParamsError(
            f"params.yaml: model.weights_file: expected the path of a file, as model.weights is "
            f"file; found no file at {weights!r}; set it with -S model.weights_file=PATH"
        )
    print(f"params.yaml: {len(type(params).model_fields)} sections, all of their keys fit")


if __name__ == "__main__":
    run_stage(main)
