"""The Kubernetes documents of the repository, and what a cluster would say of them."""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
SCHEMA_VERSION = "1.33"
KSERVE = "kserve==0.21.0"
KSERVE_GROUP = "serving.kserve.io"


def documents(folder: str) -> dict[str, dict[str, Any]]:
    """Every document of an overlay's folder by the name of its file, the kustomization left out."""
    return {
        path.name: yaml.safe_load(path.read_text())
        for path in sorted((KUBERNETES / folder).glob("*.yaml"))
        if path.name != "kustomization.yaml"
    }


def kustomization(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())
    return found


def validate(document: dict[str, Any]) -> None:
    """Raise when a document has a key that Kubernetes' own schema does not know, lacks one, or mistypes it."""
    kubernetes_validate.validate(document, SCHEMA_VERSION, strict=True)


@cache
def _kserve_models(folder: Path) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """KServe's own description of its resources: for each type, the type and the JSON name of every attribute.

    Read from the sources of its Python package without importing them, since that would need all its dependencies.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), KSERVE]
    subprocess.run(command, check=True, timeout=100)
    models = {}
    with zipfile.ZipFile(next(folder.glob("kserve-*.whl"))) as wheel:
        for name in wheel.namelist():
            if not name.startswith("kserve/models/v1"):
                continue
            for node in ast.walk(ast.parse(wheel.read(name))):
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


def unknown_to_kserve(document: dict[str, Any], folder: Path) -> list[str]:
    """Paths of the keys that KServe's types do not have. Types of Kubernetes itself within them are left alone."""
    version = document["apiVersion"].removeprefix(f"{KSERVE_GROUP}/")
    return list(_unknown(document, version.capitalize() + document["kind"], "", _kserve_models(folder)))


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
