"""The CPU image as its users run it: built, brought up by compose, encoding and decoding through the published port."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from compose_project import BUILD_SECONDS, ROOT, START_SECONDS, ComposeProject, why_nothing_can_be_built
from latent_codes_client import LatentCodesClient
from ports import free_port
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.repository import Repository

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS + START_SECONDS)]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, tiny_repository: Path) -> Iterator[ComposeProject]:
    """The default service of docker-compose.yml, healthy, with the tiny models in its volume."""
    reason = why_nothing_can_be_built()
    if reason is not None:
        pytest.skip(reason)
    override = tmp_path_factory.mktemp("docker") / "override.yml"
    deployment = ComposeProject(f"latent-codes-test-{os.getpid()}", free_port(), override)
    deployment.write_override()
    try:
        deployment.compose("build", "latent-codes")
        # The service comes first, as for most users: it is its container that makes the volume.
        deployment.compose("create", "latent-codes")
        deployment.publish(tiny_repository)
        deployment.start("latent-codes")
        yield deployment
    finally:
        deployment.down()


@pytest.mark.parametrize("model", [TINY_BINARY, TINY_CATEGORICAL], ids=lambda model: model.name)
def test_the_published_port_encodes_and_decodes_as_the_oracle_does(
    deployment: ComposeProject, model: TinyModel
) -> None:
    inputs = model.inputs(20)
    with LatentCodesClient(deployment.url) as client:
        encoding = client.encode(model.name, inputs, temperature=0.7, seed=3)
        decoding = client.decode(model.name, encoding.codes)
    expected = model.encode(inputs, temperature=0.7, seed=3)
    firm = expected.margins > 1e-4  # the oracle computes in float64
    assert firm.mean() > 0.9
    np.testing.assert_array_equal(encoding.codes[firm], expected.codes[firm])
    np.testing.assert_allclose(decoding.outputs, model.decode(encoding.codes), atol=1e-5)


def test_the_service_serves_what_the_image_ships_beside_the_volume(deployment: ComposeProject) -> None:
    shipped = set(Repository(ROOT / "models" / "shipped").names())
    with LatentCodesClient(deployment.url) as client:
        assert {model.name for model in client.models()} == shipped | {TINY_BINARY.name, TINY_CATEGORICAL.name}


def test_the_service_runs_without_rights_on_a_file_system_it_cannot_write(deployment: ComposeProject) -> None:
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
    lines = deployment.run_inside("latent-codes", program).splitlines()
    assert lines == ["10001 10001 0 1", *["Read-only file system"] * 3, "writable /tmp"]


def test_the_image_holds_neither_torch_nor_the_training_package(deployment: ComposeProject) -> None:
    names = "('torch', 'training', 'onnx', 'pip', 'service', 'onnxruntime')"
    found = deployment.run_inside(
        "latent-codes",
        f"import importlib.util; print(*[n for n in {names} if importlib.util.find_spec(n) is not None])",
    )
    assert found.split() == ["service", "onnxruntime"]


def test_a_new_version_is_served_once_the_service_was_restarted_in_order(
    deployment: ComposeProject, tmp_path: Path
) -> None:
    for _ in range(2):
        TINY_BINARY.publish(Repository(tmp_path))
    deployment.publish(tmp_path)
    deployment.compose("stop", "latent-codes")
    # A process that ignored SIGTERM would have been killed, and left 137.
    assert deployment.compose("ps", "--all", "--format", "{{.ExitCode}}", "latent-codes").strip() == "0"
    deployment.start("latent-codes")
    with LatentCodesClient(deployment.url) as client:
        assert client.encode(TINY_BINARY.name, TINY_BINARY.inputs(1)).version == 2
        assert client.encode(TINY_BINARY.name, TINY_BINARY.inputs(1), version=1).version == 1
