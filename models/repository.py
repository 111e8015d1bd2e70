"""Models on disk: `<root>/<name>/<version>/manifest.json` and the graphs it names.

Version numbers are positive integers without leading zeros; the highest is served by default. The layout is that of
Triton's model repository. Folders and files whose name begins with `.` are not models: publishing writes into one and
renames it, so that a half-written model is never found.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from models.errors import ManifestError, ModelCorrupted, ModelNotFound, PublishRefused, RepositoryError, cause_of
from models.manifest import MANIFEST_FILE, GraphFile, Manifest, ModelName, Role

_MAX_MANIFEST_BYTES = 16 << 20
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NAME = TypeAdapter(ModelName)

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""What the file system says of the files of a version: another one once any is written, replaced, added or removed."""


@dataclass(frozen=True)
class StoredModel:
    """A model as read from disk: every graph is, byte for byte, the one whose hash the manifest holds."""

    manifest: Manifest
    graphs: Mapping[Role, bytes]
    folder: Path
    manifest_sha256: str
    """Of the file `manifest.json`, in hexadecimal. The graphs' are in it, so it names everything that makes a code."""


@dataclass(frozen=True)
class Repository:
    """A folder of models. It need not exist yet: then it is empty."""

    root: Path

    def names(self) -> list[str]:
        """Names of models with at least one version, sorted; nothing is read of their content.

        A model whose folder cannot be listed is among them, so that it is missed and not forgotten. Raises
        RepositoryError when the root is a file or cannot be listed.
        """
        if self.root.is_file():
            raise RepositoryError(f"{self.root}: expected a folder of models, got a file")
        return sorted(
            folder.name for folder in _folders(self.root) if _is_name(folder.name) and _may_hold_models(folder)
        )

    def versions(self, name: str) -> list[int]:
        """Versions of a model, ascending; empty when there is no such model.

        Raises RepositoryError when the model's folder cannot be listed.
        """
        return _versions(_folders(self.root / name)) if _is_name(name) else []

    def fingerprint(self, name: str, version: int) -> Fingerprint:
        """Name, size, time of the last change and inode of everything in a version's folder; nothing is read.

        Equal for as long as nobody writes there. Empty when there is no such folder, or it cannot be listed.
        """
        found = []
        try:
            for entry in os.scandir(self.root / name / str(version)):
                status = entry.stat(follow_symlinks=True)
                found.append((entry.name, status.st_size, status.st_mtime_ns, status.st_ino))
        except OSError:
            # Somebody is writing, or may be: the next look decides.
            return ()
        return tuple(sorted(found))

    def read(self, name: str, version: int | None = None) -> StoredModel:
        """Read and verify one version, by default the highest.

        Each graph is read once and compared with its SHA-256, so what was verified is what the caller gets. Raises
        ModelNotFound, ModelCorrupted with the file and the cause, or RepositoryError as `versions` does.
        """
        versions = self.versions(name)
        if not versions or (version is not None and version not in versions):
            what = f"model {name!r}" if version is None or not versions else f"version {version} of model {name!r}"
            raise ModelNotFound(f"no {what} in {self.root}")
        folder = self.root / name / str(version if version is not None else versions[-1])
        manifest, manifest_sha256 = _read_manifest(folder)
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            raise ModelCorrupted(
                f"{folder / MANIFEST_FILE}: expected model {name!r} version {folder.name}, as its folder says, "
                f"got {manifest.name!r} version {manifest.version}"
            )
        graphs = {role: _read_graph(folder, graph) for role, graph in manifest.graphs.items()}
        return StoredModel(manifest, graphs, folder, manifest_sha256)

    def publish(self, manifest: Manifest, graphs: Mapping[Role, bytes]) -> StoredModel:
        """Write a model as the next version of its name, whatever version `manifest` carries, in one rename.

        Returns it as published. Publishers at the same time get versions of their own.

        Raises PublishRefused when the graphs are not those of the manifest or the folder cannot be written.
        """
        for role, graph in manifest.graphs.items():
            if role not in graphs or GraphFile.of(graph.file, graphs[role]) != graph:
                raise PublishRefused(f"the {role} graph is not the one whose hash the manifest holds. This is a bug.")
        parent = self.root / manifest.name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            # mkdtemp makes the folder private to its owner; a service under another user must be able to read it.
            temporary = Path(tempfile.mkdtemp(prefix=".publishing-", dir=parent))
        except OSError as error:
            raise PublishRefused(f"cannot write to {parent}: {cause_of(error)}") from error
        try:
            temporary.chmod(0o755)
            for role, graph in manifest.graphs.items():
                _write(temporary / graph.file, graphs[role])
            while True:
                # Whatever has a version's name, folder or not, stands in the way of the rename.
                published = manifest.model_copy(
                    update={"version": max(_versions(list(parent.iterdir())), default=0) + 1}
                )
                text = published.to_json()
                _write(temporary / MANIFEST_FILE, text)
                _sync(temporary)
                folder = parent / str(published.version)
                try:
                    temporary.rename(folder)
                except OSError:
                    # Somebody else published this version in the meantime: take the next one.
                    if os.path.lexists(folder):
                        continue
                    raise
                _sync(parent)
                _sync(self.root)
                return StoredModel(published, dict(graphs), folder, _sha256(text))
        except OSError as error:
            raise PublishRefused(f"cannot write to {parent}: {cause_of(error)}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    """Folders directly inside; none when `folder` does not exist or is a file."""
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RepositoryError(f"{folder}: cannot be listed: {cause_of(error)}") from error


def _versions(entries: list[Path]) -> list[int]:
    return sorted(int(entry.name) for entry in entries if _VERSION.fullmatch(entry.name))


def _may_hold_models(folder: Path) -> bool:
    try:
        return bool(_versions(_folders(folder)))
    except RepositoryError:
        return True


def _is_name(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest, and the SHA-256 of its file."""
    path = folder / MANIFEST_FILE
    text = _read(path, _MAX_MANIFEST_BYTES)
    try:
        return Manifest.from_json(text), _sha256(text)
    except ManifestError as error:
        raise ModelCorrupted(f"{path}: {error}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_graph(folder: Path, graph: GraphFile) -> bytes:
    path = folder / graph.file
    content = _read(path, graph.size_bytes)
    found = GraphFile.of(graph.file, content)
    if found != graph:
        raise ModelCorrupted(
            f"{path}: expected {graph.size_bytes} bytes with SHA-256 {graph.sha256}, as the manifest says, "
            f"got {found.size_bytes} bytes with {found.sha256}"
        )
    return content


def _read(path: Path, max_bytes: int) -> bytes:
    """What the file holds. A manifest may promise any size: nothing is allocated before the file's own was seen."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelCorrupted(f"{path}: expected a regular file")
        if not 0 < status.st_size <= max_bytes:
            raise ModelCorrupted(f"{path}: expected 1 to {max_bytes} bytes, got {status.st_size}")
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise ModelCorrupted(f"{path}: cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _sync(folder: Path) -> None:
    """Make a rename inside `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
