"""Models on disk: `<root>/<name>/<version>/manifest.json` and the graphs it names.

Version numbers are positive integers without leading zeros; the highest is served by default. The layout is that of
Triton's model repository. Folders and files whose name begins with `.` are not models: publishing writes into one and
renames it, so that a half-written model is never found.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from models.errors import ManifestError, ModelCorrupted, ModelNotFound, PublishRefused
from models.manifest import GraphFile, Manifest, ModelName, Role

MANIFEST_FILE = "manifest.json"
_MAX_MANIFEST_BYTES = 16 << 20
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NAME = TypeAdapter(ModelName)


@dataclass(frozen=True)
class StoredModel:
    """A model as read from disk: every graph is, byte for byte, the one whose hash the manifest holds."""

    manifest: Manifest
    graphs: Mapping[Role, bytes]
    folder: Path


@dataclass(frozen=True)
class Repository:
    """A folder of models. It need not exist yet: then it is empty."""

    root: Path

    def names(self) -> list[str]:
        """Names of models with at least one version, sorted. Raises nothing about their content."""
        return sorted(
            folder.name for folder in _folders(self.root) if _is_name(folder.name) and self.versions(folder.name)
        )

    def versions(self, name: str) -> list[int]:
        """Versions of a model, ascending; empty when there is no such model."""
        if not _is_name(name):
            return []
        return sorted(int(folder.name) for folder in _folders(self.root / name) if _VERSION.fullmatch(folder.name))

    def read(self, name: str, version: int | None = None) -> StoredModel:
        """Read and verify one version, by default the highest.

        Each graph is read once and compared with its SHA-256, so what was verified is what the caller gets. Raises
        ModelNotFound, or ModelCorrupted with the file and the cause.
        """
        versions = self.versions(name)
        if not versions or (version is not None and version not in versions):
            what = f"model {name!r}" if version is None or not versions else f"version {version} of model {name!r}"
            raise ModelNotFound(f"no {what} in {self.root}")
        folder = self.root / name / str(version if version is not None else versions[-1])
        manifest = _read_manifest(folder)
        if (manifest.name, str(manifest.version)) != (name, folder.name):
            raise ModelCorrupted(
                f"{folder / MANIFEST_FILE}: expected model {name!r} version {folder.name}, as its folder says, "
                f"got {manifest.name!r} version {manifest.version}"
            )
        graphs = {role: _read_graph(folder, graph) for role, graph in manifest.graphs.items()}
        return StoredModel(manifest, graphs, folder)

    def publish(self, manifest: Manifest, graphs: Mapping[Role, bytes]) -> StoredModel:
        """Write a model as the next version of its name, whatever version `manifest` carries, in one rename.

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
            raise PublishRefused(f"cannot write to {parent}: {error.strerror}") from error
        try:
            temporary.chmod(0o755)
            for role, graph in manifest.graphs.items():
                _write(temporary / graph.file, graphs[role])
            while True:
                published = manifest.model_copy(update={"version": max(self.versions(manifest.name), default=0) + 1})
                _write(temporary / MANIFEST_FILE, published.to_json())
                folder = parent / str(published.version)
                try:
                    temporary.rename(folder)
                except OSError:
                    # Somebody else published this version in the meantime: take the next one.
                    if folder.exists():
                        continue
                    raise
                _sync(parent)
                return StoredModel(published, dict(graphs), folder)
        except OSError as error:
            raise PublishRefused(f"cannot write to {parent}: {error.strerror}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_name(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    text = _read(path, _MAX_MANIFEST_BYTES)
    try:
        return Manifest.from_json(text)
    except ManifestError as error:
        raise ModelCorrupted(f"{path}: {error}") from error


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
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelCorrupted(f"{path}: cannot be read: {error.strerror}") from error
    if not content or len(content) > max_bytes:
        got = "an empty file" if not content else "more"
        raise ModelCorrupted(f"{path}: expected at most {max_bytes} bytes, got {got}")
    return content


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
