"""`docker compose` projects of the repository's own file, each with a name, ports and images of its own."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "python:3.11-slim-bookworm"
BUILD_SECONDS, START_SECONDS = 900, 120

_UNPACK = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/models')"


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=300).returncode == 0


def is_here_or_comes(image: str) -> bool:
    """Whether an image is on this machine or can be pulled."""
    return succeeds("docker", "image", "inspect", image) or succeeds("docker", "pull", image)


def why_nothing_can_be_built() -> str | None:
    """What is missing on this machine, or None. A Dockerfile that is wrong is not among it."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    if not succeeds("docker", "info"):
        return "no Docker engine answers"
    if not succeeds("docker", "compose", "version"):
        return "docker has no compose"
    if not is_here_or_comes(BASE_IMAGE):
        return f"the base image {BASE_IMAGE} is not here and cannot be pulled"
    download = ["python", "-m", "pip", "download", "--quiet", "--retries=0", "--no-deps", "--dest=/tmp", "hatchling"]
    if not succeeds("docker", "run", "--rm", "--network=host", BASE_IMAGE, *download):
        return "no package index can be reached from a container"
    return None


@dataclass(frozen=True)
class ComposeProject:
    """One project; `services` are those that are built here, `variables` what the compose file takes from outside."""

    name: str
    port: int
    override: Path
    services: tuple[str, ...] = ("latent-codes",)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def image(self) -> str:
        return f"{self.name}:serve-cpu"

    def write_override(self, settings: Mapping[str, str] | None = None) -> None:
        """Images of this project's own name, and `settings` as environment variables of every service."""
        # The index may be reachable from this machine's own network only.
        built = {"image": self.image, "build": {"network": "host"}, "environment": dict(settings or {})}
        self.override.write_text(json.dumps({"services": dict.fromkeys(self.services, built)}))

    def compose(self, *arguments: str, check: bool = True) -> str:
        """What a command of `docker compose` prints; with `check`, an error shows everything it printed."""
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(self.override)]
        command = ["docker", "compose", "--project-name", self.name, *files, *arguments]
        environment = os.environ | {"PORT": str(self.port)} | self.variables
        finished = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, env=environment)
        if check and finished.returncode != 0:
            raise RuntimeError(
                f"{' '.join(arguments)} exited with {finished.returncode}:\n{finished.stdout}{finished.stderr}"
            )
        return finished.stdout

    def start(self, *services: str) -> None:
        """Return once the services are healthy. Raises RuntimeError with their log when they do not become so."""
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), *(services or self.services))
        except RuntimeError as error:
            raise RuntimeError(f"{error}\nlog:\n{self.compose('logs', check=False)}") from None

    def publish(self, repository: Path) -> None:
        """Write models into the volume as the training image does: under the user of the images, from a container."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for folder in repository.iterdir():
                tar.add(folder, arcname=folder.name)
        mount = f"{self.name}_models:/models"
        subprocess.run(
            ["docker", "run", "--rm", "--interactive", "--volume", mount, self.image, "python", "-c", _UNPACK],
            input=archive.getvalue(),
            check=True,
            timeout=60,
        )

    def run_inside(self, service: str, program: str) -> str:
        """What a Python program prints inside the running container of a service."""
        return self.compose("exec", "-T", service, "python", "-c", program).strip()

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of a service."""
        return self.compose("ps", "--quiet", service).split()

    def down(self) -> None:
        """Remove everything of the project, its images too."""
        self.compose("--profile", "*", "down", "--volumes", "--rmi", "all", "--timeout", "20", check=False)
