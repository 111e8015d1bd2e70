"""The CPU image as its users run it: built, brought up by compose, encoding and decoding through the published port."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from latent_codes_client import LatentCodesClient
from service_process import free_port
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.repository import Repository

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "python:3.11-slim-bookworm"
BUILD_SECONDS, START_SECONDS = 900, 120

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS + START_SECONDS)]

_UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/models')"


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=300).returncode == 0


def why_nothing_can_be_built() -> str | None:
    """What is missing on this machine, or None. A Dockerfile that is wrong is not among it."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    if not succeeds("docker", "info"):
        return "no Docker engine answers"
    if not succeeds("docker", "compose", "version"):
        return "docker has no compose"
    if not (succeeds("docker", "image", "inspect", BASE_IMAGE) or succeeds("docker", "pull", BASE_IMAGE)):
        return f"the base image {BASE_IMAGE} is not here and cannot be pulled"
    download = ["python", "-m", "pip", "download", "--quiet", "--retries=0", "--no-deps", "--dest=/tmp", "hatchling"]
    if not succeeds("docker", "run", "--rm", "--network=host", BASE_IMAGE, *download):
        return "no package index can be reached from a container"
    return None


@dataclass(frozen=True)
class Deployment:
    """One `docker compose` project with a name, a port and images of its own."""

    project: str
    port: int
    override: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def image(self) -> str:
        return f"{self.project}:serve-cpu"

    def write_override(self) -> None:
        # The index may be reachable from this machine's own network only.
        self.override.write_text(
            f"services:\n  latent-codes:\n    image: {self.image}\n    build:\n      network: host\n"
        )

    def compose(self, *arguments: str, check: bool = True) -> str:
        """What a command of `docker compose` prints; with `check`, an error shows everything it printed."""
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(self.override)]
        command = ["docker", "compose", "--project-name", self.project, *files, *arguments]
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_SECONDS, env=os.environ | {"PORT": str(self.port)}
        )
        if check and finished.returncode != 0:
            raise RuntimeError(
                f"{' '.join(arguments)} exited with {finished.returncode}:\n{finished.stdout}{finished.stderr}"
            )
        return finished.stdout

    def start(self) -> None:
        """Return once the service is healthy. Raises RuntimeError with its log when it does not become so."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), "latent-codes")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\nlog:\n{self.compose('logs', check=False)}") from None

    def publish(self, repository: Path) -> None:
        """Write models into the volume as the training image does: under the user of the images, from a container."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for folder in repository.iterdir():
                tar.add(folder, arcname=folder.name)
        mount = f"{self.project}_models:/models"
        subprocess.run(
            ["docker", "run", "--rm", "--interactive", "--volume", mount, self.image, "python", "-c", _UNPACK],
            input=archive.getvalue(),
            check=True,
            timeout=60,
        )

    def run_inside(self, program: str) -> str:
        """What a Python program prints inside the running container."""
        return self.compose("exec", "-T", "latent-codes", "python", "-c", program).strip()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, tiny_repository: Path) -> Iterator[Deployment]:
    """The default service of docker-compose.yml, healthy, with the tiny models in its volume."""
    reason = why_nothing_can_be_built()
    if reason is not None:
        pytest.skip(reason)
    override = tmp_path_factory.mktemp("docker") / "override.yml"
    deployment = Deployment(f"latent-codes-test-{os.getpid()}", free_port(), override)
    deployment.write_override()
    try:
        deployment.compose("build", "latent-codes")
        # The service comes first, as for most users: it is its container that makes the volume.
        deployment.compose("create", "latent-codes")
        deployment.publish(tiny_repository)
        deployment.start()
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--rmi", "all", "--timeout", "20", check=False)


@pytest.mark.parametrize("model", [TINY_BINARY, TINY_CATEGORICAL], ids=lambda model: model.name)
def test_the_published_port_encodes_and_decodes_as_the_oracle_does(deployment: Deployment, model: TinyModel) -> None:
    inputs = model.inputs(20)
    with LatentCodesClient(deployment.url) as client:
        encoding = client.encode(model.name, inputs, temperature=0.7, seed=3)
        decoding = client.decode(model.name, encoding.codes)
    expected = model.encode(inputs, temperature=0.7, seed=3)
    firm = expected.margins > 1e-4  # the oracle computes in float64
    assert firm.mean() > 0.9
    np.testing.assert_array_equal(encoding.codes[firm], expected.codes[firm])
    np.testing.assert_allclose(decoding.outputs, model.decode(encoding.codes), atol=1e-5)


def test_the_service_serves_what_the_image_ships_beside_the_volume(deployment: Deployment) -> None:
    shipped = set(Repository(ROOT / "models" / "shipped").names())
    with LatentCodesClient(deployment.url) as client:
        assert {model.name for model in client.models()} == shipped | {TINY_BINARY.name, TINY_CATEGORICAL.name}


def test_the_service_runs_without_rights_on_a_file_system_it_cannot_write(deployment: Deployment) -> None:
    program = """
import os, pathlib
capabilities = dict(line.split(":\\t") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(os.getuid(), os.getgid(), int(capabilities["CapEff"], 16), capabilities["NoNewPrivs"])
for folder in ("/app", "/models", "/opt/venv", "/tmp"):
    try:
        pathlib.Path(folder, "written").touch()
        print("writable", folder)
    except OSError as error:
        print(error.strerror)
"""
    lines = deployment.run_inside(program).splitlines()
    assert lines == ["10001 10001 0 1", *["Read-only file system"] * 3, "writable /tmp"]


def test_the_image_holds_neither_torch_nor_the_training_package(deployment: Deployment) -> None:
    names = "('torch', 'training', 'onnx', 'pip', 'service', 'onnxruntime')"
    found = deployment.run_inside(
        f"import importlib.util; print(*[n for n in {names} if importlib.util.find_spec(n) is not None])"
    )
    assert found.split() == ["service", "onnxruntime"]


def test_a_new_version_is_served_once_the_service_was_restarted_in_order(
    deployment: Deployment, tmp_path: Path
) -> None:
    for _ in range(2):
        TINY_BINARY.publish(Repository(tmp_path))
    deployment.publish(tmp_path)
    deployment.compose("stop", "latent-codes")
    # A process that ignored SIGTERM would have been killed, and left 137.
    assert deployment.compose("ps", "--all", "--format", "{{.ExitCode}}", "latent-codes").strip() == "0"
    deployment.start()
    with LatentCodesClient(deployment.url) as client:
        assert client.encode(TINY_BINARY.name, TINY_BINARY.inputs(1)).version == 2
        assert client.encode(TINY_BINARY.name, TINY_BINARY.inputs(1), version=1).version == 1
