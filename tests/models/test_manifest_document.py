"""`docs/manifest.md` says of every key of a manifest what `models/manifest.py` takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from models.manifest import Manifest

PAGE = (Path(__file__).parents[2] / "docs" / "manifest.md").read_text(encoding="utf-8")
SCHEMA = Manifest.model_json_schema()
PARTS: dict[str, dict[str, Any]] = {"Manifest": SCHEMA, **SCHEMA["$defs"]}
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def rows(section: str) -> dict[str, list[str]]:
    """Type, default and meaning by key."""
    found = {}
    for line in SECTIONS[section].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0].startswith("`"):
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1:])
    return found


def in_words(schema: dict[str, Any]) -> str:
    """The type of a key as the page writes it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "oneOf" in schema:
        return ", ".join(in_words(each) for each in schema["oneOf"])
    if "anyOf" in schema:
        kinds = [in_words(each) for each in schema["anyOf"] if each != {"type": "null"}]
        return f"{', '.join(kinds)}, or null"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema["type"]
    if "const" in schema:
        return f"{kind}, `{schema['const']}`" if kind == "string" else f"{kind}, {schema['const']}"
    if kind == "array":
        return f"list of {_plural(in_words(schema['items']))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_plural(in_words(schema['additionalProperties']))}"
    if "minimum" in schema and "maximum" in schema:
        return f"{kind}, {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{kind}, at least {schema['minimum']}"
    if "exclusiveMinimum" in schema:
        return f"{kind}, above {schema['exclusiveMinimum']}"
    return str(kind)


def _plural(words: str) -> str:
    if words.startswith("["):
        return words
    head, comma, tail = words.partition(", ")
    return f"{head}s{comma}{'each ' if comma else ''}{tail}"


def test_every_part_of_a_manifest_has_a_section_and_no_other_has() -> None:
    assert SECTIONS.keys() == PARTS.keys()


@pytest.mark.parametrize("part", PARTS)
def test_a_section_has_a_row_for_every_key_and_no_other(part: str) -> None:
    assert rows(part).keys() == PARTS[part]["properties"].keys()


@pytest.mark.parametrize("part", PARTS)
def test_types_ranges_and_defaults_are_those_of_the_code(part: str) -> None:
    for key, (kind, default, _) in rows(part).items():
        schema = PARTS[part]["properties"][key]
        assert kind == in_words(schema), key
        is_required = key in PARTS[part].get("required", ())
        assert default == ("" if is_required else f"`{json.dumps(schema['default'])}`"), key
