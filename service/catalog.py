"""Which models and versions are served, and which were refused: one state of things, which never changes.

`service.live_models` replaces it as models come and go; a request takes the catalog of the moment it came, and keeps
its engine for as long as it runs.

One rule says which version answers, at the start and at any time after: a request that names no version gets the
highest one that is served, and only versions that this host has verified are. So what is served depends on what is on
disk and on what was unloaded, not on when the service was started, and a new version that turns out to be broken leaves
the one before it in service. That is never silent: each answer says its version, and the refused one is named with its
reason by `refusals`, hence in the descriptions of the model, in the repository's index, in readiness, and in the log.
Codes of two versions cannot be compared; who stores codes stores their version, and asks for it by number.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from service.engine import Engine
from service.errors import ModelUnavailable, UnknownModel, UnknownVersion, quoted


@dataclass(frozen=True)
class Refusal:
    """Files of a version on disk that are not served. `reason` is safe to show: it holds no path.

    The version may be served all the same, as it was before its files were changed.
    """

    name: str
    version: int
    reason: str
    is_final: bool = True
    """False while the files may still be being written."""


@dataclass(frozen=True)
class Readiness:
    """Whether a version of every model that was found is served, and there is a model; if not strict, the latter."""

    ready: bool
    failed: tuple[Refusal, ...] = ()
    """Versions that would answer by default, had they not been refused."""


class Catalog:
    """Models by name and version."""

    def __init__(
        self,
        engines: Iterable[Engine],
        refusals: Iterable[Refusal] = (),
        *,
        unloaded: Iterable[str] = (),
        is_strict: bool = True,
    ) -> None:
        """`unloaded` names models that were taken out of service on purpose; `is_strict` says what readiness is."""
        self._engines = {(engine.manifest.name, engine.manifest.version): engine for engine in engines}
        self._refusals = {(refusal.name, refusal.version): refusal for refusal in refusals}
        self._unloaded = frozenset(unloaded)
        self._is_strict = is_strict
        # Sorted by version, so that the last one of each name is the highest.
        self._defaults = dict(sorted(self._engines))

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Those of all models and versions that are served."""
        return tuple(self._engines.values())

    def names(self) -> list[str]:
        """Names of models of which at least one version is served, sorted."""
        return sorted(self._defaults)

    def versions(self, name: str) -> list[int]:
        """Versions of a model that are served, ascending."""
        return sorted(version for served, version in self._engines if served == name)

    def default_version(self, name: str) -> int | None:
        """The version that a request without one gets: the highest that is served; None when none is."""
        return self._defaults.get(name)

    def refusals(self, name: str | None = None) -> list[Refusal]:
        """Those of a model, or of all, by name and version."""
        return [refusal for (refused, _), refusal in sorted(self._refusals.items()) if name is None or refused == name]

    def get(self, name: str, version: int | None = None) -> Engine:
        """Raises UnknownModel, UnknownVersion, or ModelUnavailable when it was found and refused."""
        default = self._defaults.get(name)
        wanted = default if version is None else version
        if wanted is not None and (name, wanted) in self._engines:
            return self._engines[name, wanted]
        refused = self.refusals(name)
        if default is None and not refused:
            raise self._unknown(name)
        if wanted is None:
            wanted = refused[-1].version
        served_versions = ", ".join(map(str, self.versions(name)[-10:])) or "none"
        if (name, wanted) in self._refusals:
            raise ModelUnavailable(
                f"version {wanted} of model {name} was found and is not served: {self._refusals[name, wanted].reason}; "
                f"versions that can be asked for: {served_versions}"
            )
        raise UnknownVersion(f"model {name} has no version {wanted}; served are: {served_versions}")

    def readiness(self) -> Readiness:
        """Computed from what was really loaded."""
        failed = [refusal for refusal in self.refusals() if refusal.version > self._defaults.get(refusal.name, 0)]
        unserved = {refusal.name for refusal in failed if refusal.is_final} - set(self._defaults)
        ready = bool(self._engines) and not (self._is_strict and unserved)
        return Readiness(ready=ready, failed=tuple(failed))

    def _unknown(self, name: str) -> UnknownModel:
        if name in self._unloaded:
            return UnknownModel(f"model {name} was unloaded")
        served = self.names()
        listed = ", ".join(served[:10]) + (", ..." if len(served) > 10 else "")
        return UnknownModel(f"there is no model {quoted(name)}; served are: {listed or 'none'}")
