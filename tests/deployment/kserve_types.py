"""KServe's own description of its resources, and what it would say of a document."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

KSERVE_GROUP = "serving.kserve.io"


@cache
def _models() -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """For each type, the type and the JSON name of every attribute.

    Read from the sources of the Python package that is installed, without importing all that they import.
    """
    spec = find_spec("kserve")
    assert spec is not None
    assert spec.origin is not None
    models = {}
    for path in (Path(spec.origin).parent / "models").glob("v1*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                models[node.name] = (_literal(node, "openapi_types"), _literal(node, "attribute_map"))
    return models


def _literal(node: ast.ClassDef, name: str) -> dict[str, str]:
    found = [
        each.value
        for each in node.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name) and each.targets[0].id == name
    ]
    return dict(ast.literal_eval(found[0])) if found else {}


def unknown_to_kserve(document: dict[str, Any]) -> list[str]:
    """Paths of the keys that KServe's types do not have. Types of Kubernetes itself within them are left alone."""
    version = document["apiVersion"].removeprefix(f"{KSERVE_GROUP}/")
    return list(_unknown(document, version.capitalize() + document["kind"], "", _models()))


def _unknown(value: Any, type_name: str, path: str, models: dict[str, Any]) -> Iterator[str]:
    if type_name.startswith("list["):
        for index, item in enumerate(value):
            yield from _unknown(item, type_name[5:-1], f"{path}[{index}]", models)
    elif type_name in models:
        types, names = models[type_name]
        attributes = {json_name: attribute for attribute, json_name in names.items()}
        for key, item in value.items():
            if key not in attributes:
                yield f"{path}.{key}"
            else:
                yield from _unknown(item, types[attributes[key]], f"{path}.{key}", models)
