"""Models of repositories on this machine, run by ONNX Runtime in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from models.errors import ModelsError
from models.manifest import Manifest
from models.repository import Repository, StoredModel
from service.checks import Floats
from service.cli.backends import Generated, IntegerCodes, Listed, ModelFacts
from service.cli.options import ModelId, Where
from service.engine import Engine
from service.errors import UnknownModel, UnknownVersion, quoted
from service.loading import opened
from service.settings import Settings


class LocalBackend:
    """An engine, behind the face that a service has too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.model = facts_of(engine.manifest, engine.manifest_sha256)

    def encode(self, inputs: NDArray[Any], *, temperature: float, seed: int | None, first_row: int) -> IntegerCodes:
        codes = self._engine.encode(inputs, temperature=temperature, seed=seed, first_row=first_row).codes
        assert codes is not None
        return codes

    def decode(self, codes: IntegerCodes) -> Floats:
        return self._engine.decode(codes)

    def generate(self, num_codes: int, *, temperature: float, seed: int | None, first_row: int) -> Generated:
        drawn = self._engine.generate(num_codes, temperature=temperature, seed=seed, first_row=first_row)
        assert drawn.codes is not None
        return Generated(drawn.codes, drawn.outputs)


def load(where: Where, model: ModelId) -> LocalBackend:
    """The model, once this host has reproduced its golden vectors. Raises NotServed, ModelsError or ModelRefused."""
    settings = Settings.from_environment()
    if where.device is not None:
        settings = settings.model_copy(update={"device": where.device})
    return LocalBackend(opened(find(where.repositories or settings.model_repositories, model), settings))


def stored_model(repositories: Sequence[Path], model: ModelId) -> StoredModel:
    """The model as it is on disk, from these repositories or those of the settings. Raises NotServed or ModelsError."""
    return find(repositories or Settings.from_environment().model_repositories, model)


def models(where: Where) -> list[Listed]:
    """Every model of the repositories; of versions that two of them hold, those of the first."""
    roots = where.repositories or Settings.from_environment().model_repositories
    names = sorted({name for root in roots for name in Repository(root).names()})
    return [_listed(roots, name) for name in names]


def find(roots: Sequence[Path], model: ModelId) -> StoredModel:
    """By default the highest version in all repositories, from the first that holds it."""
    held = _held(roots, model.name)
    if not held:
        names = sorted({name for root in roots for name in Repository(root).names()})
        looked = ", ".join(map(str, roots))
        raise UnknownModel(f"there is no model {quoted(model.name)} in {looked}; found: {', '.join(names) or 'none'}")
    version = max(held) if model.version is None else model.version
    if version not in held:
        found = ", ".join(map(str, sorted(held)))
        raise UnknownVersion(f"model {model.name} has no version {version}; found: {found}")
    return held[version].read(model.name, version)


def facts_of(manifest: Manifest, manifest_sha256: str) -> ModelFacts:
    """What a command has to know."""
    return ModelFacts(
        manifest.name,
        manifest.version,
        manifest_sha256,
        manifest.kind,
        manifest.num_latents,
        manifest.num_categories,
        manifest.input,
    )


def _held(roots: Sequence[Path], name: str) -> dict[int, Repository]:
    held: dict[int, Repository] = {}
    for repository in map(Repository, roots):
        for version in repository.versions(name):
            held.setdefault(version, repository)
    return held


def _listed(roots: Sequence[Path], name: str) -> Listed:
    versions = tuple(sorted(_held(roots, name)))
    try:
        stored = find(roots, ModelId(name, None))
    except ModelsError as error:
        return Listed(name, versions, f"cannot be used: {error}", None)
    manifest = stored.manifest
    return Listed(name, versions, manifest.description, facts_of(manifest, stored.manifest_sha256))
