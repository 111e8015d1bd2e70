"""The models in service, as versions come and go on disk and are loaded and unloaded by hand.

A look at the repositories compares what the file system says of each version's files with what it said before. What is
new is loaded and checked beside what is served; only then the catalog is replaced, in one assignment. A request that
has its engine keeps it, so none is dropped, and an engine's memory is given back when the last request is done with it.

- A version that fails is refused, with a reason, and looked at again when its files change. Copying takes time, so a
  version whose files do not verify is refused only once they have stopped changing: published versions, which appear by
  one rename, are served at the first look, and a copy at the first look after its end.
- A version that is served and whose files change stays as it was loaded, and is shown with a refusal: a number means
  the same model, also after its folder was removed, until the model is unloaded or the service is restarted.
- A version whose folder is gone is taken out of service. A look that finds no model at all takes out none: a file
  system that is not mounted looks the same.
"""

import ctypes
import logging
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.errors import ModelsError, RepositoryError
from models.repository import Fingerprint, Repository
from service import providers
from service.catalog import Catalog, Refusal
from service.engine import Engine
from service.errors import DeviceUnavailable, LoadFailed, RepositoryMissing, RepositoryUnreadable, UnknownModel, quoted
from service.loading import load, log_refusal
from service.settings import Settings

Key = tuple[str, int]
"""Name and version."""

CHANGED = "its files were changed after it was loaded; what was loaded is served"
SERVED_BEFORE = "another model was served under this number; publish it under a new one"
UNSETTLED = "its files do not verify, and may still be being written"

_RELEASE_SECONDS = 1.0

_logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A version on disk."""

    repository: Repository
    fingerprint: Fingerprint


class Entry(NamedTuple):
    """A version in the repository's index."""

    name: str
    version: int
    ready: bool
    reason: str


@dataclass
class _Looked:
    """What was made of a version's files when they had this fingerprint."""

    fingerprint: Fingerprint
    refusal: str | None = None
    settled: bool = True
    """False: they did not verify when they were first seen like this."""


class LiveModels:
    """The catalog of the moment, and what changes it. Methods that read disks or load models block; use a thread."""

    def __init__(self, settings: Settings, catalog: Catalog | None = None) -> None:
        """Load what the settings' repositories hold, or begin with a catalog that was made elsewhere.

        Raises RepositoryMissing for a repository that was named and is not there and for one that cannot be read, and
        DeviceUnavailable.
        """
        self._settings = settings
        self._repositories = [Repository(root) for root in settings.model_repositories]
        self._lock = threading.Lock()
        self._looked: dict[Key, _Looked] = {}
        self._engines: dict[Key, Engine] = {}
        self._digests: dict[Key, str] = {}
        """SHA-256 of the manifest of every version that was ever served here."""
        self._unloaded: frozenset[str] = frozenset()
        self._unreadable = ""
        if catalog is not None:
            self._engines = {(engine.manifest.name, engine.manifest.version): engine for engine in catalog.engines}
            self._digests = {key: engine.manifest_sha256 for key, engine in self._engines.items()}
            self._catalog = catalog
            return
        providers.require(settings.device)
        if "model_repositories" in settings.model_fields_set:
            _require_folders(settings.model_repositories)
        self._catalog = Catalog(())
        try:
            found = _distinct(self._repositories, log_hidden=True)
        except RepositoryError as error:
            raise RepositoryMissing(f"the model repository {error}") from error
        self._look(found, settle=False, strict=True)
        if not self._engines:
            _logger.error("no model is served; looked in %s", ", ".join(map(str, settings.model_repositories)))

    @property
    def catalog(self) -> Catalog:
        """What is served at this moment; a request takes it once."""
        return self._catalog

    def changed(self) -> list[str]:
        """Names of models that `refresh` should look at. Reads no file; of unloaded models nothing is said."""
        found = self._found()
        if not found:
            return []
        with self._lock:
            names = {
                key[0]
                for key, version in found.items()
                if (looked := self._looked.get(key)) is None
                or looked.fingerprint != version.fingerprint
                or not looked.settled
            }
            names |= {key[0] for key in self._looked if key not in found}
            return sorted(names - self._unloaded)

    def refresh(self, name: str | None = None) -> None:
        """Serve what is new on disk, of one model or of all, and take out what is gone."""
        found = self._found()
        if found:
            with self._changing():
                self._look(found, only=name)

    def load(self, name: str) -> None:
        """Serve the model as it is on disk: also after it was unloaded, and with another try of what was refused.

        Raises UnknownModel when there is none of that name on disk, RepositoryUnreadable, and LoadFailed when its
        highest version was refused; what was served before still is.
        """
        with self._changing():
            try:
                found = _distinct(self._repositories)
            except RepositoryError as error:
                _logger.error("model %s cannot be loaded: %s", name, error)
                raise RepositoryUnreadable("the model repositories cannot be looked at just now") from error
            versions = [version for known, version in found if known == name]
            if not versions:
                raise UnknownModel(f"there is no model {quoted(name)} in the model repository")
            self._unloaded -= {name}
            for key, looked in list(self._looked.items()):
                if key[0] == name and looked.refusal is not None:
                    del self._looked[key]
            self._look(found, only=name, settle=False)
            newest = self._looked[name, max(versions)]
            if newest.refusal is not None:
                default = self._catalog.default_version(name)
                instead = f"version {default} is served" if default is not None else "no version of it is served"
                raise LoadFailed(f"version {max(versions)} of model {name} was refused: {newest.refusal}; {instead}")

    def unload(self, name: str) -> None:
        """Take every version of the model out of service, until it is loaded again. Raises UnknownModel."""
        with self._changing():
            keys = [key for key in self._looked.keys() | self._engines.keys() if key[0] == name]
            if not keys:
                raise UnknownModel(f"there is no model {quoted(name)} in service")
            for key in keys:
                self._looked.pop(key, None)
                self._engines.pop(key, None)
                self._digests.pop(key, None)
            self._unloaded |= {name}
            self._publish()
        _logger.info("model %s was unloaded", name)

    def digests(self) -> dict[str, dict[str, str]]:
        """Which model each number means: name to version to SHA-256 of the manifest, of all that was served here."""
        with self._lock:
            digests: dict[str, dict[str, str]] = {}
            for (name, version), digest in self._digests.items():
                digests.setdefault(name, {})[str(version)] = digest
            return digests

    def pin(self, digests: Mapping[str, Mapping[str, str]]) -> None:
        """Let numbers mean what they do elsewhere: what is served here and is another model is taken out of service."""
        with self._changing():
            served = {key: engine.manifest_sha256 for key, engine in self._engines.items()}
            pinned = {
                (name, int(version)): digest for name, known in digests.items() for version, digest in known.items()
            }
            self._digests = served | pinned
            for key, digest in pinned.items():
                if served.get(key, digest) != digest:
                    del self._engines[key]
                    self._looked[key] = _Looked(self._looked[key].fingerprint, SERVED_BEFORE)
                    _logger.error("model %s version %d is not served: %s", *key, SERVED_BEFORE)
            self._publish()

    def index(self) -> list[Entry]:
        """Every version on disk or in service, by name and version, with why it is not served."""
        found = self._found()
        with self._lock:
            entries = []
            for name, version in sorted(found.keys() | self._looked.keys() | self._engines.keys()):
                looked = self._looked.get((name, version))
                reason = (looked.refusal if looked else None) or ""
                ready = (name, version) in self._engines
                if not ready and not reason:
                    reason = "unloaded" if name in self._unloaded else "not loaded yet"
                entries.append(Entry(name, version, ready, reason))
            return entries

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock, and give back the memory of engines that left while it was held."""
        with self._lock:
            before = [weakref.ref(engine) for engine in self._engines.values()]
            yield
            served = {id(engine) for engine in self._engines.values()}
        left = [engine for engine in before if id(engine()) not in served]
        if left:
            _give_memory_back(left)

    # Below, `self._lock` is held.

    def _look(
        self, found: Mapping[Key, Found], *, only: str | None = None, settle: bool = True, strict: bool = False
    ) -> None:
        """`settle`: files that do not verify may be changing. `strict`: DeviceUnavailable is raised."""
        for key, version in sorted(found.items(), key=lambda item: item[0]):
            if key[0] in self._unloaded or only not in (None, key[0]):
                continue
            looked = self._looked.get(key)
            if looked is None or looked.fingerprint != version.fingerprint or not looked.settled:
                first = looked is None or looked.fingerprint != version.fingerprint
                self._looked[key] = self._consider(key, version, may_change=settle and first, strict=strict)
        for key in [key for key in self._looked if key not in found and only in (None, key[0])]:
            del self._looked[key]
            if self._engines.pop(key, None) is not None:
                _logger.warning("model %s version %d is no longer served: its folder is gone", *key)
        self._publish()

    def _consider(self, key: Key, found: Found, *, may_change: bool, strict: bool) -> _Looked:
        if key in self._engines:
            return self._compare(key, found, may_change=may_change)
        try:
            engine = load(found.repository, *key, self._settings)
        except ModelsError as error:
            if may_change:
                _logger.info("model %s version %d does not verify yet: %s", *key, error)
                return _Looked(found.fingerprint, UNSETTLED, settled=False)
            return _Looked(found.fingerprint, log_refusal(*key, error))
        except DeviceUnavailable as error:
            if strict:
                raise
            return _Looked(found.fingerprint, log_refusal(*key, error))
        except Exception as error:
            return _Looked(found.fingerprint, log_refusal(*key, error))
        if self._digests.setdefault(key, engine.manifest_sha256) != engine.manifest_sha256:
            _logger.error("model %s version %d is not served: %s", *key, SERVED_BEFORE)
            return _Looked(found.fingerprint, SERVED_BEFORE)
        self._engines[key] = engine
        return _Looked(found.fingerprint)

    def _compare(self, key: Key, found: Found, *, may_change: bool) -> _Looked:
        """Files of a version that is served have changed: do they still hold the same model?"""
        try:
            stored = found.repository.read(*key)
        except ModelsError:
            if may_change:
                return _Looked(found.fingerprint, UNSETTLED, settled=False)
        else:
            if stored.manifest_sha256 == self._engines[key].manifest_sha256:
                return _Looked(found.fingerprint)
        _logger.error("model %s version %d: %s", *key, CHANGED)
        return _Looked(found.fingerprint, CHANGED)

    def _publish(self) -> None:
        refusals = [
            Refusal(*key, looked.refusal, looked.settled)
            for key, looked in self._looked.items()
            if looked.refusal is not None
        ]
        self._catalog = Catalog(
            self._engines.values(), refusals, unloaded=self._unloaded, is_strict=self._settings.strict_readiness
        )

    def _found(self) -> dict[Key, Found]:
        """What is on disk; nothing, and a line in the log, where that cannot be said."""
        try:
            found = _distinct(self._repositories)
        except RepositoryError as error:
            self._log_unreadable(str(error))
            return {}
        self._log_unreadable("" if found else "no model is found")
        return found

    def _log_unreadable(self, cause: str) -> None:
        """Once, not at every look."""
        if cause and cause != self._unreadable:
            _logger.error("the model repositories cannot be looked at, and what is served stays: %s", cause)
        self._unreadable = cause


def _require_folders(roots: Iterable[Path]) -> None:
    for root in roots:
        if not root.is_dir():
            raise RepositoryMissing(
                f"the model repository {root} is not a folder: make or mount it, or name others in "
                "LATENT_CODES_MODEL_REPOSITORIES"
            )


def _distinct(repositories: Iterable[Repository], *, log_hidden: bool = False) -> dict[Key, Found]:
    """Every version of every model once, from the first repository that holds it. Raises RepositoryError."""
    found: dict[Key, Found] = {}
    for repository in repositories:
        for name in repository.names():
            for version in repository.versions(name):
                first = found.get((name, version))
                if first is None:
                    found[name, version] = Found(repository, repository.fingerprint(name, version))
                elif log_hidden:
                    _logger.warning(
                        "model %s version %d of %s is hidden by the one of %s",
                        name,
                        version,
                        repository.root,
                        first.repository.root,
                    )
    return found


def _give_memory_back(left: Iterable["weakref.ref[Engine]"]) -> None:
    """Ask the C library to return what the engines held, once the requests that still use them are done.

    An engine that is in use for longer is freed when it no longer is, and its memory is kept for later use. So it is
    where the library is not glibc, whose function this is.
    """
    deadline = time.monotonic() + _RELEASE_SECONDS
    while any(engine() is not None for engine in left) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
