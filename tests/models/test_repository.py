"""`models/repository.py`: what is found is whole, what is published is found, and nothing in between."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from models.errors import ModelCorrupted, ModelNotFound, ModelsError, PublishRefused, RepositoryError
from models.manifest import Manifest, Role
from models.repository import Repository

MakeManifest = Callable[..., Manifest]
Graphs = dict[Role, bytes]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "models")


@pytest.fixture
def published(repository: Repository, make_manifest: MakeManifest, graphs: Graphs) -> Repository:
    """A repository with one version of "tiny"."""
    repository.publish(make_manifest(), graphs)
    return repository


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Reading.


def test_a_published_model_reads_back_byte_for_byte(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    stored = repository.publish(make_manifest(), graphs)
    assert repository.read("tiny") == stored
    assert repository.read("tiny", 1) == stored
    assert stored.graphs == graphs
    assert stored.manifest == make_manifest()
    assert everything_below(repository.root) == [
        "tiny",
        "tiny/1",
        "tiny/1/decoder.onnx",
        "tiny/1/encoder.onnx",
        "tiny/1/manifest.json",
        "tiny/1/sampler.onnx",
    ]


def test_a_root_that_does_not_exist_is_an_empty_repository(repository: Repository) -> None:
    assert repository.names() == []
    assert repository.versions("tiny") == []
    with pytest.raises(ModelNotFound, match="no model 'tiny' in"):
        repository.read("tiny")


def test_a_root_that_is_a_file_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="file: expected a folder of models, got a file"):
        Repository(tmp_path / "file").names()


def test_versions_are_ordered_as_numbers(repository: Repository, make_manifest: MakeManifest, graphs: Graphs) -> None:
    for _ in range(11):
        repository.publish(make_manifest(), graphs)
    assert repository.versions("tiny") == list(range(1, 12))
    assert repository.read("tiny").manifest.version == 11


def test_only_folders_with_the_name_of_a_version_are_versions(published: Repository) -> None:
    for name in ["02", "0", "-3", "+3", "3.0", "1e3", "latest", ".4", "٣", "1" * 19]:
        shutil.copytree(published.root / "tiny" / "1", published.root / "tiny" / name)
    (published.root / "tiny" / "5").write_text("a file")
    assert published.versions("tiny") == [1]


def test_only_folders_that_hold_a_version_are_models(published: Repository) -> None:
    tiny = published.root / "tiny"
    for name in [".hidden", "Upper", "-dash", "with space"]:
        shutil.copytree(tiny, published.root / name)
    (published.root / "empty").mkdir()
    (published.root / "notes").mkdir()
    (published.root / "notes" / "readme").mkdir()
    (published.root / "file").write_text("")
    assert published.names() == ["tiny"]
    assert published.versions("file") == []


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/", "../models/tiny", "tiny/1/..", "tiny/", "tiny\0", "TINY", "tiny\n"]
)
def test_names_do_not_lead_out_of_the_root(published: Repository, name: str) -> None:
    assert published.versions(name) == []
    with pytest.raises(ModelNotFound):
        published.read(name)


def test_a_version_that_is_not_there_is_named(published: Repository) -> None:
    for version in (2, 0, -1):
        with pytest.raises(ModelNotFound, match=f"no version {version} of model 'tiny'"):
            published.read("tiny", version)


@pytest.mark.parametrize("file", ["encoder.onnx", "sampler.onnx", "decoder.onnx", "manifest.json"])
def test_a_missing_file_is_named(published: Repository, file: str) -> None:
    path = published.root / "tiny" / "1" / file
    path.unlink()
    with pytest.raises(ModelCorrupted, match=f"^{path}: cannot be read: No such file"):
        published.read("tiny")


@pytest.mark.parametrize("file", ["encoder.onnx", "sampler.onnx", "decoder.onnx"])
def test_every_altered_byte_of_a_graph_is_noticed(published: Repository, file: str) -> None:
    path = published.root / "tiny" / "1" / file
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ModelCorrupted, match=f"^{path}: expected {len(content)} bytes with SHA-256 .* got"):
            published.read("tiny")
    path.write_bytes(content)
    assert published.read("tiny").manifest.version == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 1 to 17 bytes, got 0"),
        (b"the encoder graph and more", "expected 1 to 17 bytes, got 26"),
        (b"the encoder", "expected 17 bytes with SHA-256"),
    ],
    ids=["empty", "longer", "shorter"],
)
def test_a_graph_of_another_length_is_refused(published: Repository, content: bytes, message: str) -> None:
    path = published.root / "tiny" / "1" / "encoder.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelCorrupted, match=f"^{path}: {message}"):
        published.read("tiny")


def test_a_graph_that_is_not_a_file_is_refused_without_waiting(published: Repository) -> None:
    path = published.root / "tiny" / "1" / "encoder.onnx"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelCorrupted, match=f"^{path}: expected a regular file"):
        published.read("tiny")


def test_the_promised_size_of_a_graph_is_not_allocated(published: Repository) -> None:
    manifest = published.root / "tiny" / "1" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    document["graphs"]["encoder"]["size_bytes"] = (1 << 31) - 1
    manifest.write_text(json.dumps(document))
    with pytest.raises(ModelCorrupted, match=r"encoder\.onnx: expected 2147483647 bytes .* got 17 bytes"):
        published.read("tiny")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "manifest: Invalid JSON"), (b"{}", "name: Field required"), (b"", "expected 1 to 16777216 bytes, got 0")],
)
def test_a_manifest_that_cannot_be_read_is_named_with_the_cause(
    published: Repository, content: bytes, message: str
) -> None:
    path = published.root / "tiny" / "1" / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ModelCorrupted, match=f"^{path}: .*{message}"):
        published.read("tiny")


@pytest.mark.parametrize(("name", "version"), [("tiny", "2"), ("other", "1")])
def test_a_model_in_the_folder_of_another_is_refused(published: Repository, name: str, version: str) -> None:
    shutil.copytree(published.root / "tiny" / "1", published.root / name / version)
    with pytest.raises(ModelCorrupted, match=f"expected model '{name}' version {version}, as its folder says, got"):
        published.read(name, int(version))


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """An empty folder, and a process that may not pass over permissions: root becomes nobody meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="latent-codes-test-"))
    folder.chmod(0o777)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_model_that_cannot_be_listed_is_missed_and_does_not_hide_the_others(
    unprivileged: Path, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    repository = Repository(unprivileged)
    for name in ("closed", "open"):
        repository.publish(make_manifest(name=name), graphs)
    (unprivileged / "closed").chmod(0)
    assert repository.names() == ["closed", "open"]
    assert repository.read("open").manifest.name == "open"
    with pytest.raises(RepositoryError, match="closed: cannot be listed: Permission denied"):
        repository.read("closed")


def test_a_root_that_cannot_be_listed_is_not_taken_for_an_empty_one(unprivileged: Path) -> None:
    root = unprivileged / "root"
    root.mkdir(mode=0)
    with pytest.raises(RepositoryError, match=f"^{root}: cannot be listed: Permission denied"):
        Repository(root).names()


def test_publishing_where_one_may_not_write_says_so(
    unprivileged: Path, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    root = unprivileged / "root"
    root.mkdir(mode=0o555)
    with pytest.raises(PublishRefused, match=f"^cannot write to {root}/tiny: Permission denied"):
        Repository(root).publish(make_manifest(), graphs)


# Publishing.


def test_publishing_takes_the_next_version_whatever_the_manifest_carries(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    assert repository.publish(make_manifest(version=40), graphs).manifest.version == 1
    (repository.root / "tiny" / "7").mkdir()
    stored = repository.publish(make_manifest(), graphs)
    assert (stored.manifest.version, stored.folder) == (8, repository.root / "tiny" / "8")
    assert repository.read("tiny").manifest.version == 8


@pytest.mark.parametrize("obstacle", ["file", "dangling link"])
def test_publishing_passes_what_is_no_folder_but_has_the_name_of_a_version(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs, obstacle: str
) -> None:
    path = repository.root / "tiny" / "1"
    path.parent.mkdir(parents=True)
    path.write_text("") if obstacle == "file" else path.symlink_to("nowhere")
    assert repository.publish(make_manifest(), graphs).manifest.version == 2
    assert repository.versions("tiny") == [2]


def test_a_published_model_can_be_read_by_another_user(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    mask = os.umask(0o077)
    try:
        folder = repository.publish(make_manifest(), graphs).folder
    finally:
        os.umask(mask)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("change", ["another graph", "a graph too few"])
def test_graphs_that_the_manifest_does_not_vouch_for_are_refused(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs, change: str
) -> None:
    given = {**graphs, "decoder": b"another"} if change == "another graph" else {"encoder": graphs["encoder"]}
    with pytest.raises(PublishRefused, match="graph is not the one whose hash the manifest holds"):
        repository.publish(make_manifest(), given)
    assert not repository.root.exists()


def test_publishing_below_a_file_says_so(tmp_path: Path, make_manifest: MakeManifest, graphs: Graphs) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishRefused, match=f"^cannot write to {tmp_path}/file/tiny: "):
        Repository(tmp_path / "file").publish(make_manifest(), graphs)


PUBLISH = """
import os, resource, sys
from pathlib import Path
from models.errors import PublishRefused
from models.manifest import Manifest
from models.repository import Repository

root, manifest, when = sys.argv[1:]
manifest = Manifest.from_json(Path(manifest).read_bytes())
graphs = {role: f"the {role} graph".encode() for role in manifest.graphs}

def die(event, arguments):
    # As kill -9 does: no exception, no clean-up.
    if event == when or (event == "open" and str(arguments[0]).endswith(when) and ".publishing-" in arguments[0]):
        os._exit(9)

if when == "full disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
    try:
        Repository(Path(root)).publish(manifest, graphs)
    except PublishRefused as refusal:
        sys.exit(str(refusal))
else:
    sys.addaudithook(die)
    Repository(Path(root)).publish(manifest, graphs)
"""


@pytest.fixture
def publish_in_child(repository: Repository, make_manifest: MakeManifest, tmp_path: Path) -> Callable[[str], object]:
    """Publishes "tiny" in a process that dies when it opens a file or does what an audit event names."""
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(make_manifest().to_json())

    def publish(fate: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PUBLISH, str(repository.root), str(manifest), fate]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)

    return publish


@pytest.mark.parametrize(
    "fate",
    ["/encoder.onnx", "/sampler.onnx", "/decoder.onnx", "/manifest.json", "os.rename"],
)
def test_a_publisher_that_dies_in_the_middle_leaves_nothing_that_is_found(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs, publish_in_child: Callable, fate: str
) -> None:
    process = publish_in_child(fate)
    assert process.returncode == 9, process.stderr
    assert [path for path in everything_below(repository.root) if path.startswith("tiny/.publishing-")]
    assert repository.names() == []
    assert repository.versions("tiny") == []
    assert repository.publish(make_manifest(), graphs).manifest.version == 1
    assert repository.read("tiny").graphs == graphs


def test_a_full_disk_refuses_the_model_and_leaves_nothing_behind(
    repository: Repository, publish_in_child: Callable
) -> None:
    process = publish_in_child("full disk")
    assert f"cannot write to {repository.root / 'tiny'}: File too large" in process.stderr
    assert everything_below(repository.root) == ["tiny"]
    assert repository.names() == []


def test_threads_that_publish_at_once_get_versions_of_their_own(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    num_threads, num_each = 8, 4
    start, versions = threading.Barrier(num_threads), []

    def publish() -> None:
        start.wait()
        versions.extend(repository.publish(make_manifest(), graphs).manifest.version for _ in range(num_each))

    threads = [threading.Thread(target=publish) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, num_threads * num_each + 1)) == repository.versions("tiny")
    assert {path.name[0] for path in (repository.root / "tiny").iterdir()}.isdisjoint(".")


def _publish_some(root: Path, manifest: bytes, graphs: Graphs) -> list[int]:
    return [Repository(root).publish(Manifest.from_json(manifest), graphs).manifest.version for _ in range(10)]


def test_processes_that_publish_at_once_get_versions_of_their_own_and_readers_see_whole_models(
    repository: Repository, make_manifest: MakeManifest, graphs: Graphs
) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_publish_some, repository.root, make_manifest().to_json(), graphs) for _ in range(2)]
        while not all(future.done() for future in futures):
            if repository.names():
                assert repository.read("tiny").graphs == graphs
        versions = [version for future in futures for version in future.result()]
    assert sorted(versions) == list(range(1, 21))
    for version in versions:
        assert repository.read("tiny", version).manifest.version == version


def test_errors_of_the_repository_are_those_of_the_contract(published: Repository) -> None:
    with pytest.raises(ModelsError):
        published.read("other")
