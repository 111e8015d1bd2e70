"""A running service, asked through its own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import latent_codes_client as client
import numpy as np
from latent_codes_client import LatentCodesClient
from numpy.typing import NDArray
from pydantic import ValidationError

from models.manifest import InputSpec
from service.checks import Floats, place
from service.cli.backends import Generated, IntegerCodes, Listed, ModelFacts
from service.cli.options import ModelId, Where
from service.errors import FieldError, InvalidFields, RemoteFailed, UnknownModel, invalid, shown


class RemoteBackend:
    """One version of a model at a service: the one that was highest when the command began, if none was named."""

    def __init__(self, connection: LatentCodesClient, model: ModelId) -> None:
        self._client = connection
        with _translated():
            self.model = _facts(connection.model(model.name, model.version))

    def encode(self, inputs: NDArray[Any], *, temperature: float, seed: int | None, first_row: int) -> IntegerCodes:
        _require_finite(self.model.input, inputs)
        with _translated():
            found = self._client.encode(
                self.model.name,
                inputs,
                temperature=temperature,
                seed=seed,
                first_row=first_row,
                version=self.model.version,
            )
        return _integers(found.codes)

    def decode(self, codes: IntegerCodes) -> Floats:
        with _translated():
            return self._client.decode(self.model.name, codes, version=self.model.version).outputs

    def generate(self, num_codes: int, *, temperature: float, seed: int | None, first_row: int) -> Generated:
        with _translated():
            drawn = self._client.generate(
                self.model.name,
                num_codes,
                temperature=temperature,
                seed=seed,
                first_row=first_row,
                version=self.model.version,
            )
        return Generated(_integers(drawn.codes), drawn.outputs)


class Connection:
    """A service, as long as a command asks it."""

    def __init__(self, connection: LatentCodesClient) -> None:
        self._client = connection

    def backend(self, model: ModelId) -> RemoteBackend:
        """One of its models."""
        return RemoteBackend(self._client, model)

    def models(self) -> list[Listed]:
        """All of them."""
        with _translated():
            return [self._listed(summary) for summary in self._client.models()]

    def _listed(self, summary: client.ModelSummary) -> Listed:
        facts = None if summary.version is None else _facts(self._client.model(summary.name))
        return Listed(summary.name, summary.versions, summary.description, facts)


@contextmanager
def connected(where: Where) -> Iterator[Connection]:
    """A client of the service."""
    assert where.url is not None
    with _translated():
        connection = LatentCodesClient(where.url, api_key=where.api_key)
    with connection:
        yield Connection(connection)


def _facts(model: client.Model) -> ModelFacts:
    try:
        spec = InputSpec.model_validate(model.details["input"])
    except (KeyError, ValidationError) as error:
        raise RemoteFailed(f"the service describes the inputs of {model.name} in a way that is not known") from error
    return ModelFacts(
        model.name, model.version, model.manifest_sha256, model.kind, model.num_latents, model.num_categories, spec
    )


def _require_finite(spec: InputSpec, inputs: NDArray[Any]) -> None:
    """Say it as the engine does: the client would not send such a row, and does not know the range."""
    wrong = np.argwhere(~np.isfinite(inputs))
    if len(wrong):
        where = tuple(map(int, wrong[0]))
        expected = f"a finite number from {spec.minimum:g} to {spec.maximum:g}"
        raise invalid(f"inputs{place(where)}", expected, shown(inputs[where].item()))


def _integers(codes: NDArray[Any] | None) -> IntegerCodes:
    if codes is None or codes.dtype.kind not in "iu":
        raise RemoteFailed("the service answered without codes")
    integers: NDArray[np.integer[Any]] = codes
    return integers


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors as those of this package, which exit statuses are known of."""
    try:
        yield
    except client.NotFound as error:
        raise UnknownModel(str(error)) from error
    except client.RequestRefused as error:
        if error.problem.errors:
            fields = [FieldError(each.field, each.expected, each.received) for each in error.problem.errors]
            raise InvalidFields(*fields) from error
        raise RemoteFailed(str(error)) from error
    except client.InvalidArgument as error:
        raise RemoteFailed(f"--url: {str(error).removeprefix('base_url: ')}") from error
    except client.ClientError as error:
        raise RemoteFailed(str(error)) from error
