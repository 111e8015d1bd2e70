"""Which models and versions are served, and which were refused.

Everything the repositories hold is loaded when the service starts, every version of every model. A version that fails
(an altered file, a manifest that contradicts itself, a graph that is not the promised one, golden vectors that do not
come out) is logged with file and cause and is not served; the others are.

A request without a version gets the highest version on disk. When that one was refused, the request is refused too:
codes of two versions cannot be compared, so an older version never answers silently for a newer one. It can still be
asked for by its number. `readiness` says "ready" only when the highest version of every model is served, and at least
one is.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelsError
from models.repository import Repository
from service import golden, sessions
from service.engine import Engine
from service.errors import (
    DeviceUnavailable,
    GoldenMismatch,
    GraphRefused,
    ModelRefused,
    ModelUnavailable,
    RepositoryMissing,
    UnknownModel,
    UnknownVersion,
    quoted,
)
from service.settings import Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A version that was found and is not served. `reason` is safe to show: it holds no path."""

    name: str
    version: int
    reason: str


@dataclass(frozen=True)
class Readiness:
    """Whether every model that should be served is."""

    ready: bool
    failed: tuple[Refusal, ...] = ()
    """Highest versions that were refused."""


class Catalog:
    """Models by name and version. Does not change once it is made."""

    def __init__(self, engines: Iterable[Engine], refusals: Iterable[Refusal] = ()) -> None:
        self._engines = {(engine.manifest.name, engine.manifest.version): engine for engine in engines}
        self._refusals = {(refusal.name, refusal.version): refusal for refusal in refusals}
        # Sorted by version, so that the last one of each name is the highest.
        self._highest = dict(sorted((*self._engines, *self._refusals)))

    @classmethod
    def open(cls, settings: Settings) -> "Catalog":
        """Load every model of the settings' repositories.

        Raises RepositoryMissing for a repository that was named and is not there, and DeviceUnavailable.
        """
        sessions.require(settings.device)
        repositories = [Repository(root) for root in settings.model_repositories]
        if "model_repositories" in settings.model_fields_set:
            _require_folders(settings.model_repositories)
        engines, refusals = [], []
        for repository, name, version in _distinct(repositories):
            try:
                engines.append(_load(repository, name, version, settings))
            except (ModelsError, ModelRefused) as error:
                refusals.append(Refusal(name, version, _reason(error)))
                _logger.error("model %s version %d is not served: %s", name, version, error)
            except DeviceUnavailable:
                raise
            except Exception:
                # Whatever is wrong with one model must not keep the others from being served.
                refusals.append(Refusal(name, version, "it could not be loaded"))
                _logger.exception("model %s version %d is not served; this is a bug", name, version)
        if not engines:
            _logger.error("no model is served; looked in %s", ", ".join(map(str, settings.model_repositories)))
        return cls(engines, refusals)

    def names(self) -> list[str]:
        """Names of models of which at least one version is served, sorted."""
        return sorted({name for name, _ in self._engines})

    def versions(self, name: str) -> list[int]:
        """Versions of a model that are served, ascending."""
        return sorted(version for served, version in self._engines if served == name)

    def default_version(self, name: str) -> int | None:
        """The version that a request without one gets; None when the highest on disk was refused."""
        highest = self._highest.get(name)
        return highest if highest is not None and (name, highest) in self._engines else None

    def get(self, name: str, version: int | None = None) -> Engine:
        """Raises UnknownModel, UnknownVersion, or ModelUnavailable when it was found and refused."""
        highest = self._highest.get(name)
        if highest is None:
            served = self.names()
            listed = ", ".join(served[:10]) + (", ..." if len(served) > 10 else "")
            raise UnknownModel(f"there is no model {quoted(name)}; served are: {listed or 'none'}")
        wanted = highest if version is None else version
        if (name, wanted) in self._engines:
            return self._engines[name, wanted]
        served_versions = ", ".join(map(str, self.versions(name)[-10:])) or "none"
        if (name, wanted) in self._refusals:
            raise ModelUnavailable(
                f"version {wanted} of model {name} was found and is not served: {self._refusals[name, wanted].reason}; "
                f"versions that can be asked for: {served_versions}"
            )
        raise UnknownVersion(f"model {name} has no version {wanted}; served are: {served_versions}")

    def readiness(self) -> Readiness:
        """Computed from what was really loaded."""
        failed = tuple(self._refusals[newest] for newest in self._highest.items() if newest in self._refusals)
        return Readiness(ready=bool(self._engines) and not failed, failed=failed)


def _require_folders(roots: Sequence[Path]) -> None:
    for root in roots:
        if not root.is_dir():
            raise RepositoryMissing(f"the model repository {root} is not a folder")


def _distinct(repositories: Sequence[Repository]) -> list[tuple[Repository, str, int]]:
    """Every version of every model once, from the first repository that holds it."""
    found: dict[tuple[str, int], Repository] = {}
    for repository in repositories:
        for name in repository.names():
            for version in repository.versions(name):
                first = found.setdefault((name, version), repository)
                if first is not repository:
                    _logger.warning(
                        "model %s version %d of %s is hidden by the one of %s",
                        name,
                        version,
                        repository.root,
                        first.root,
                    )
    return [(repository, name, version) for (name, version), repository in sorted(found.items(), key=lambda x: x[0])]


def _load(repository: Repository, name: str, version: int, settings: Settings) -> Engine:
    stored = repository.read(name, version)
    engine = Engine.load(
        stored,
        device=settings.device,
        num_threads=settings.intra_op_num_threads,
        max_rows_per_run=settings.max_rows_per_run,
    )
    try:
        golden.check(engine)
    except GoldenMismatch as error:
        raise GoldenMismatch(f"{stored.folder}: {error}") from error
    _logger.info(
        "model %s version %d is served on %s, about %.0f microseconds a row and %.0f to generate one alone, from %s",
        name,
        version,
        engine.provider,
        engine.seconds_per_row * 1e6,
        engine.seconds_to_generate(1) * 1e6,
        stored.folder,
    )
    return engine


def _reason(error: Exception) -> str:
    match error:
        case GraphRefused():
            return "a graph is not what its manifest promises"
        case GoldenMismatch():
            return "its golden vectors are not reproduced here"
        case _:
            return "its files are altered, missing or contradict themselves"
