"""The Kubernetes documents of the repository."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


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
