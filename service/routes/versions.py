"""Which model a path means: `/v1/models/{model}`, or one version of it below `/versions/{version}`."""

from typing import Annotated

from fastapi import Path

from service.catalog import Catalog
from service.engine import Engine
from service.errors import UnknownVersion, quoted

MODEL = "/v1/models/{model}"
VERSION = "/v1/models/{model}/versions/{version}"

ModelName = Annotated[str, Path(description="Name of a model.")]
Version = Annotated[str, Path(description="Version of the model, a positive integer.")]


def find(catalog: Catalog, model: str, version: str | None = None) -> Engine:
    """The engine that a path means. Raises NotServed."""
    if version is None:
        return catalog.get(model)
    if not (version.isascii() and version.isdecimal() and len(version) <= 18 and version[0] != "0"):
        catalog.get(model)
        raise UnknownVersion(f"model {model} has no version {quoted(version)}: a version is a positive integer")
    return catalog.get(model, int(version))
