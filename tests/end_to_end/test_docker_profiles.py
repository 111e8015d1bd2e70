"""Compose under load: a container and a replica that are killed, a new version, replicas restarted one by one, metrics.

Where the images of HAProxy and Prometheus cannot be had, Debian's packages of the same programs take their place, in
images made here; the configuration files are the repository's own.
"""

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose_project import (
    BASE_IMAGE,
    BUILD_SECONDS,
    START_SECONDS,
    ComposeProject,
    is_here_or_comes,
    why_nothing_can_be_built,
)
from ports import free_port
from service_load import Asked, Load
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.repository import Repository

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS + START_SECONDS)]

NUM_REPLICAS = 3
POLL_SECONDS = 1
OFFICIAL = {"HAPROXY_IMAGE": "haproxy:3.2", "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0"}
PACKAGES = {"HAPROXY_IMAGE": "haproxy", "PROMETHEUS_IMAGE": "prometheus"}


def image_of(variable: str) -> str:
    """The official image, or one of Debian's package of the same program."""
    if is_here_or_comes(OFFICIAL[variable]):
        return OFFICIAL[variable]
    package = PACKAGES[variable]
    recipe = (
        f"FROM {BASE_IMAGE}\n"
        f"RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends {package} >/dev/null\n"
        "USER root\n"
    )
    tag = f"latent-codes-test-{package}"
    command = ["docker", "build", "--network=host", "--quiet", "--tag", tag, "-"]
    subprocess.run(command, input=recipe.encode(), check=True, capture_output=True, timeout=BUILD_SECONDS)
    return tag


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_repository: Path) -> Iterator[ComposeProject]:
    """One container of the service, three behind a balancer, and Prometheus, over the tiny models."""
    reason = why_nothing_can_be_built()
    if reason is not None:
        pytest.skip(reason)
    ports = {name: str(free_port()) for name in ("BALANCER_PORT", "PROMETHEUS_PORT")}
    images = {variable: image_of(variable) for variable in OFFICIAL}
    project = ComposeProject(
        f"latent-codes-profiles-{os.getpid()}",
        free_port(),
        tmp_path_factory.mktemp("docker") / "override.json",
        ("latent-codes", "latent-codes-replica"),
        {**ports, **images, "REPLICAS": str(NUM_REPLICAS)},
    )
    project.write_override({"LATENT_CODES_REPOSITORY_POLL_SECONDS": str(POLL_SECONDS)})
    try:
        project.compose("build", "latent-codes")
        project.compose("create", "latent-codes")
        project.publish(tiny_repository)
        project.start("latent-codes", "latent-codes-replica", "balancer", "prometheus")
        yield project
    finally:
        project.down()


class Balancer:
    """The balancer's published port, for those who know a service by its port."""

    def __init__(self, project: ComposeProject) -> None:
        self.port = int(project.variables["BALANCER_PORT"])


def asked_of(*models: TinyModel) -> list[Asked]:
    """Requests at temperature 0 whose codes are known: firm ones, by the oracle."""
    asked = []
    for model in models:
        inputs = model.inputs(200)
        oracle = model.encode(inputs)
        firm = (oracle.margins > 1e-3).all(axis=1)
        for row, code in list(zip(inputs[firm], oracle.codes[firm], strict=True))[:20]:
            body = json.dumps({"inputs": [row.reshape(-1).tolist()]}).encode()
            asked.append(Asked(f"/v1/models/{model.name}/encode", body, {"codes": [code.tolist()]}))
    return asked


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


def wait_until(condition: Any, *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.2)


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def test_a_container_that_is_killed_comes_back_and_no_answer_is_wrong(project: ComposeProject) -> None:
    (container,) = project.containers("latent-codes")
    with Load(project, asked_of(TINY_BINARY, TINY_CATEGORICAL)) as load:  # type: ignore[arg-type]
        load.wait_for(50)
        # From outside, as the kernel does when memory runs out: `docker kill` would count as somebody's wish.
        os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", container)), 9)
        wait_until(
            lambda: status_of(f"{project.url}/v2/health/ready") != 200, seconds=10, what="the container to be gone"
        )
        load.wait_for(200, seconds=START_SECONDS)
    assert docker("inspect", "--format", "{{.RestartCount}}", container).strip() == "1"
    assert load.wrong == []
    assert set(load.outcomes) <= {"right", "lost", "refused"}


def test_a_replica_that_is_killed_is_not_noticed_behind_the_balancer(project: ComposeProject) -> None:
    victim = project.containers("latent-codes-replica")[0]
    with Load(Balancer(project), asked_of(TINY_BINARY, TINY_CATEGORICAL)) as load:  # type: ignore[arg-type]
        load.wait_for(100)
        docker("kill", victim)
        load.wait_for(300)
        docker("start", victim)
        load.wait_for(100)
    assert load.wrong == []
    assert set(load.outcomes) == {"right"}


def test_a_new_version_is_rolled_out_with_no_request_lost(project: ComposeProject, tmp_path: Path) -> None:
    for _ in range(2):
        TINY_CATEGORICAL.publish(Repository(tmp_path))
    description = f"http://127.0.0.1:{project.variables['BALANCER_PORT']}/v1/models/{TINY_CATEGORICAL.name}"
    with Load(Balancer(project), asked_of(TINY_BINARY, TINY_CATEGORICAL)) as load:  # type: ignore[arg-type]
        load.wait_for(50)
        project.publish(tmp_path)

        def is_everywhere() -> bool:
            versions = []
            for _ in range(4 * NUM_REPLICAS):
                with urllib.request.urlopen(description, timeout=5) as reply:
                    versions.append(json.loads(reply.read())["version"])
            return set(versions) == {2}

        wait_until(is_everywhere, seconds=60, what="every replica to serve version 2")
        load.wait_for(100)
    assert load.wrong == []
    assert set(load.outcomes) == {"right"}


def test_replicas_are_replaced_one_by_one_with_no_request_lost(project: ComposeProject) -> None:
    with Load(Balancer(project), asked_of(TINY_BINARY)) as load:  # type: ignore[arg-type]
        load.wait_for(50)
        for replica in project.containers("latent-codes-replica"):
            docker("restart", "--time", "30", replica)
            wait_until(
                lambda replica=replica: (
                    docker("inspect", "--format", "{{.State.Health.Status}}", replica).strip() == "healthy"
                ),
                seconds=START_SECONDS,
                what="a replica to be healthy again",
            )
            load.wait_for(50)
    assert load.wrong == []
    assert set(load.outcomes) == {"right"}


def test_prometheus_sees_every_container_and_its_metrics(project: ComposeProject) -> None:
    address = f"http://127.0.0.1:{project.variables['PROMETHEUS_PORT']}/api/v1/query"

    def values(query: str) -> list[float]:
        with urllib.request.urlopen(f"{address}?{urllib.parse.urlencode({'query': query})}", timeout=5) as reply:
            found = json.loads(reply.read())
        assert found["status"] == "success"
        return [float(each["value"][1]) for each in found["data"]["result"]]

    with Load(Balancer(project), asked_of(TINY_BINARY)) as load:  # type: ignore[arg-type]
        load.wait_for(300)
        wait_until(
            lambda: values('sum(up{job="latent-codes"})') == [NUM_REPLICAS + 1.0],
            seconds=60,
            what="Prometheus to reach every container",
        )
        wait_until(
            lambda: sum(values('latent_codes_http_requests_total{status="200",model="tiny-binary"}')) >= 300,
            seconds=60,
            what="Prometheus to have counted the requests",
        )
    assert values("latent_codes_ready") == [1.0] * (NUM_REPLICAS + 1)
    assert max(values("latent_codes_code_window_rows")) > 0
    with urllib.request.urlopen(address.replace("query", "rules"), timeout=5) as reply:
        groups = json.loads(reply.read())["data"]["groups"]
    assert groups
    assert all(rule["health"] == "ok" for group in groups for rule in group["rules"])
