"""All of params.yaml → nothing: refuses what no other stage would notice, such as a key too many.

Every stage checks the whole file before it begins. This one runs where a change concerns no other.
"""

from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage


def main(params: Params) -> None:
    print(f"params.yaml: {len(type(params).model_fields)} sections, all of their keys fit")


if __name__ == "__main__":
    run_stage(main)
