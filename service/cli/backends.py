"""Who encodes and decodes: ONNX Runtime here, or a running service. The codes are the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.codefile import Provenance
from models.codes import CodeLayout
from models.manifest import InputSpec, Kind
from service.checks import Floats
from service.cli.options import ModelId, Where
from service.errors import PackageMissing

IntegerCodes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ModelFacts:
    """What a command has to know of a model."""

    name: str
    version: int
    manifest_sha256: str
    kind: Kind
    num_latents: int
    num_categories: int
    input: InputSpec

    @property
    def layout(self) -> CodeLayout:
        return CodeLayout(self.num_latents, self.num_categories)

    def provenance(self, *, temperature: float, seed: int | None, first_row: int) -> Provenance:
        """Of codes that it makes."""
        return Provenance(
            model=self.name,
            version=self.version,
            manifest_sha256=self.manifest_sha256,
            kind=self.kind,
            num_latents=self.num_latents,
            num_categories=self.num_categories,
            temperature=temperature,
            seed=seed if temperature > 0 else None,
            first_row=first_row,
        )


class Generated(NamedTuple):
    """Codes [B, N] drawn from the prior, and their outputs [B, *input]."""

    codes: IntegerCodes
    outputs: Floats


class Backend(Protocol):
    """One version of one model, ready to work."""

    model: ModelFacts

    def encode(self, inputs: NDArray[Any], *, temperature: float, seed: int | None, first_row: int) -> IntegerCodes:
        """Inputs [B, D] or [B, *input] to codes [B, N]. Raises InvalidFields."""
        ...

    def decode(self, codes: IntegerCodes) -> Floats:
        """Codes [B, N] to outputs [B, *input]. Raises InvalidFields."""
        ...

    def generate(self, num_codes: int, *, temperature: float, seed: int | None, first_row: int) -> Generated:
        """Codes of the prior, numbers `first_row ..` of that seed. Raises InvalidFields."""
        ...


class Listed(NamedTuple):
    """One model, as a list of them has it."""

    name: str
    versions: tuple[int, ...]
    description: str
    facts: ModelFacts | None
    """Of the highest version; None where it cannot be used."""


@contextmanager
def open_backend(where: Where, model: ModelId) -> Iterator[Backend]:
    """The model at a service, or loaded here. Raises NotServed, ModelRefused, RemoteFailed or PackageMissing."""
    # Each needs packages that the other does not.
    if where.url is not None:
        with _explained("--url needs {}: pip install ./client, the client of the service"):
            from service.cli.remote import connected

        with connected(where) as client:
            yield client.backend(model)
        return
    with _explained("without --url, {} is needed: pip install 'latent-codes[cpu]'"):
        from service.cli import local
    yield local.load(where, model)


def list_models(where: Where) -> list[Listed]:
    """Every model of a service, or of the repositories."""
    if where.url is not None:
        with _explained("--url needs {}: pip install ./client, the client of the service"):
            from service.cli.remote import connected

        with connected(where) as client:
            return client.models()
    with _explained("without --url, {} is needed: pip install 'latent-codes[cpu]'"):
        from service.cli import local
    return local.models(where)


@contextmanager
def _explained(sentence: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise PackageMissing(sentence.format(f"the package {error.name}")) from error
