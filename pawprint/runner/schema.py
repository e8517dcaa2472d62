"""The JSON schema of params.yaml, by which editors complete and check it.

python -m pawprint.runner.schema > docs/params.schema.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from pawprint.runner.params import Params, TrainingParams

_SECTION = re.compile(r"(\w+):\s*(?:#\s*(.*))?")
_KEY = re.compile(r"  (\w+):\s+(?:'[^']*'|\[[^\]]*\]|[^#]*?)\s*(?:#\s*(.*))?")
_CONTINUED = re.compile(r"\s+#\s*(.*)")


class _WithoutTitles(GenerateJsonSchema):
    """A title would only repeat the key in other letters."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def build_schema(text: str) -> dict[str, Any]:
    """The schema of all sections.

    Args:
        text: params.yaml, whose comments become the descriptions.

    Returns:
        a schema in the terms of draft 7, which every editor knows. What crosses keys, such as
        that the shares of the splits sum to one, is beyond it.
    """
    schema = Params.model_json_schema(schema_generator=_WithoutTitles)
    comments = read_comments(text)
    for section, field in Params.model_fields.items():
        annotation: Any = field.annotation
        entry = schema["$defs"][annotation.__name__]
        entry["title"] = section
        if comment := comments.get(section):
            entry["description"] = comment
        for key, value in entry["properties"].items():
            comment = comments.get(f"{section}.{key}")
            if comment is None and issubclass(annotation, TrainingParams):
                comment = comments.get(f"baseline.{key}")  # the first of the trainings explains it
            if comment:
                value["description"] = comment
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema}


def read_comments(text: str) -> dict[str, str]:
    """What stands beside sections and keys, and in lines of comment alone that follow.

    >>> read_comments("a:  # one\\n  b: 1  # two ...\\n     # ... lines\\n  c: '#'\\n")
    {'a': 'one', 'a.b': 'two ... lines'}
    """
    found: dict[str, str] = {}
    section = last = ""
    for line in text.splitlines():
        if match := _SECTION.fullmatch(line):
            section = last = match[1]
        elif match := _KEY.fullmatch(line):
            last = f"{section}.{match[1]}"
        elif last in found and (match := _CONTINUED.fullmatch(line)):
            found[last] = f"{found[last].removesuffix(' ...')} {match[1]}"
            continue
        else:
            continue
        if match[2]:
            found[last] = match[2].strip()
    return found


def main() -> None:
    schema = build_schema(Path("params.yaml").read_text(encoding="utf-8"))
    json.dump(schema, sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
