"""What a container says where something is missing on its host: one sentence that says what to do, and an end."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_project import BUILD_SECONDS, START_SECONDS, ComposeProject, succeeds, why_nothing_can_be_built
from ports import free_port

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS + START_SECONDS)]

PUBLISH = """
import sys
from pathlib import Path
from models.errors import PublishRefused
from models.repository import Repository
stored = Repository(Path("/app/models/shipped")).read("mnist-binary", 1)
target = Path(sys.argv[1])
try:
    Repository(target).publish(stored.manifest, stored.graphs)
except PublishRefused as error:
    print(error)
print(sorted(str(path) for path in target.rglob("*") if path.is_file()))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    """Its image is built, and nothing of it runs."""
    reason = why_nothing_can_be_built()
    if reason is not None:
        pytest.skip(reason)
    override = tmp_path_factory.mktemp("docker") / "override.json"
    project = ComposeProject(
        f"latent-codes-refusals-{os.getpid()}", free_port(), override, ("latent-codes", "latent-codes-gpu")
    )
    project.write_override()
    try:
        project.compose("build", "latent-codes")
        yield project
    finally:
        project.down()


def run(project: ComposeProject, *options: str, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A container of the image, confined as Compose does it, to its end."""
    confined = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
    return subprocess.run(
        ["docker", "run", "--rm", *confined, *options, project.image, *command],
        capture_output=True,
        text=True,
        timeout=60,
    )


def sentence_of(finished: subprocess.CompletedProcess[str]) -> str:
    """What a start that is refused says, which is all that it writes but for the log."""
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    *_, last = finished.stderr.splitlines()
    return last


def test_a_gpu_that_is_demanded_and_not_there(project: ComposeProject) -> None:
    told = sentence_of(run(project, "--env=LATENT_CODES_DEVICE=cuda"))
    assert told.startswith("Latent Codes does not start: device is cuda, and the installed ONNX Runtime")
    assert "install the project with its extra gpu" in told


def test_a_gpu_that_compose_reserves_and_the_host_does_not_have(project: ComposeProject) -> None:
    """Docker refuses before anything of ours runs; docs/deployment.md says what its sentence means."""
    if succeeds("docker", "run", "--rm", "--gpus=1", project.image, "true"):
        pytest.skip("this host has a GPU and NVIDIA's container toolkit")
    with pytest.raises(RuntimeError, match='could not select device driver "nvidia"'):
        project.compose("up", "--detach", "--no-build", "latent-codes-gpu")


def test_a_repository_that_is_not_mounted(project: ComposeProject) -> None:
    told = sentence_of(run(project, "--env=LATENT_CODES_MODEL_REPOSITORIES=/srv/models"))
    assert told == (
        "Latent Codes does not start: the model repository /srv/models is not a folder: make or mount it, or name "
        "others in LATENT_CODES_MODEL_REPOSITORIES"
    )


def test_a_repository_that_the_user_of_the_image_may_not_read(project: ComposeProject, tmp_path: Path) -> None:
    private = tmp_path / "models"
    private.mkdir(mode=0o700)
    told = sentence_of(run(project, f"--volume={private}:/models:ro"))
    assert told == (
        "Latent Codes does not start: the model repository /models: cannot be listed: Permission denied; "
        "let the user 10001 in, or name another folder"
    )


def test_a_port_that_is_taken(project: ComposeProject) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        told = sentence_of(run(project, "--network=host", f"--env=LATENT_CODES_PORT={port}"))
    assert told == (
        f"Latent Codes does not start: cannot listen on 0.0.0.0 port {port}: Address already in use; "
        "end what listens there, or choose another with LATENT_CODES_PORT"
    )


def test_a_model_is_not_published_to_a_volume_that_is_read_only(project: ComposeProject) -> None:
    volume = f"--volume={project.name}_read_only:/models:ro"
    try:
        told = run(project, volume, command=("python", "-c", PUBLISH, "/models")).stdout.splitlines()
    finally:
        subprocess.run(["docker", "volume", "rm", f"{project.name}_read_only"], capture_output=True, timeout=60)
    assert told == [
        "cannot write to /models/mnist-binary: Read-only file system; mount it writable, or name another folder",
        "[]",
    ]


def test_a_model_is_not_published_to_a_disk_that_fills_up_and_nothing_of_it_is_left(project: ComposeProject) -> None:
    disk = "--tmpfs=/small:size=1m,mode=777"
    told = run(project, disk, command=("python", "-c", PUBLISH, "/small")).stdout.splitlines()
    assert told == ["cannot write to /small/mnist-binary: No space left on device; make room there", "[]"]
