"""Generate the page of the JSON Schema: ``python docs/make_schema.py > docs/schema.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("result.schema.json")

HEAD = """\
# Schema

<!-- Made by `python docs/make_schema.py > docs/schema.md`; a test fails when it is stale. -->

`--format json` gives one object per media file, and this is all that may be in it. The same as
JSON Schema (draft 2020-12), for programs: [result.schema.json](result.schema.json). What the fields
mean and how they are computed: [results](results.md).

A field that is not marked *optional* is always there. In `jsonl` each line is one object of
`utterances`, with `source` in front.
"""


def page() -> str:
    """The page as Markdown."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [HEAD, f"## The result\n\n{schema['description']}\n"]
    parts += _tables(schema, "", schema)
    return "\n".join(parts)


def _tables(object_: dict[str, Any], path: str, schema: dict[str, Any]) -> Iterator[str]:
    """A table of the fields of ``object_``, then tables of the objects inside it."""
    rows, below = [], []
    for name, plain in object_["properties"].items():
        field = _resolved(plain, schema)
        inner = _resolved(field["items"], schema) if "items" in field else field
        optional = "" if name in object_["required"] else " *optional*"
        told = field.get("description", "").replace("|", "\\|")
        rows.append(f"| `{name}`{optional} | {_kind(field, schema)} | {told} |")
        if "properties" in inner:
            below.append((f"{path}{name}{'[]' if inner is not field else ''}", inner))
    yield "\n".join(["| field | kind | |", "|---|---|---|", *rows, ""])
    shown: dict[str, str] = {}
    for name, inner in below:
        tables = list(_tables(inner, f"{name}.", schema))
        # Objects with the same fields share one table.
        key = "\n".join(tables)
        if key not in shown:
            same = [other for other, it in below if it == inner]
            title = " and ".join(f"`{other}`" for other in same)
            yield "\n".join([f"### {title}\n", *tables])
            shown[key] = name


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """``field`` with its ``$ref`` resolved; its own keys take precedence."""
    if "$ref" not in field:
        return field
    return {**schema["$defs"][field["$ref"].rsplit("/", 1)[1]], **field}


def _kind(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "items" in field:
        return f"list of {_plural(_kind(_resolved(field['items'], schema), schema))}"
    kind = field["type"]
    if isinstance(kind, list):
        return " or ".join(kind)
    if "properties" not in field and isinstance(field.get("additionalProperties"), dict):
        values = _resolved(field["additionalProperties"], schema)
        return f"object: label → {_kind(values, schema)}"
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}".replace("-", "−")
    return f"{kind}, {low} or more" if low is not None else str(kind)


def _plural(kind: str) -> str:
    noun, comma, rest = kind.partition(",")
    return f"{noun}s{comma}{rest}"


if __name__ == "__main__":
    print(page(), end="")
