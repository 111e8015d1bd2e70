"""What can be said about the images without building them: their recipe, their locks, and how compose runs them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED_EXTRAS = {
    "build.txt": None,
    "serve-cpu.txt": ("serve", "cpu"),
    "serve-gpu.txt": ("serve", "gpu"),
    "train.txt": ("train", "cpu"),
}
LOCKS = [*LOCKED_EXTRAS, "train-without-torch.txt"]
SERVING, TRAINING = ["serve-cpu", "serve-gpu"], ["train"]
# The image: what a Linux container with Python 3.11 answers to the markers of requirements.
IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "platform_machine": "x86_64",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
}


def entries(lock: str) -> list[str]:
    """Each requirement of a lock with its hashes, on one line."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def locked(lock: str) -> dict[str, str]:
    """Version by name, of what a lock installs into an image."""
    found = [Requirement(entry.partition(" --hash=")[0]) for entry in entries(lock)]
    chosen = [each for each in found if each.marker is None or each.marker.evaluate(IMAGE)]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in chosen}


def instructions(target: str) -> list[tuple[str, str]]:
    """Instructions that make up an image, those of the stages it is based on first: (name, arguments)."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = []
            stages[match[2]] = (match[1], current)
        elif match := re.fullmatch(r"([A-Z]+) +(.*)", line):
            current.append((match[1], match[2]))
    base, own = stages[target]
    return (instructions(base) if base in stages else []) + own


def last(target: str, name: str) -> str:
    return [arguments for instruction, arguments in instructions(target) if instruction == name][-1]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_version_has_its_hashes_and_no_index_is_named(lock: str) -> None:
    assert entries(lock)
    for entry in entries(lock):
        assert re.match(r"[a-z0-9._-]+==\S+ (; .+ )? *--hash=sha256:[0-9a-f]{64}( |$)", entry), entry
    assert "://" not in (ROOT / "requirements" / lock).read_text()


@pytest.mark.parametrize("lock", LOCKED_EXTRAS)
def test_locks_hold_what_the_project_asks_for_at_a_version_it_allows(lock: str) -> None:
    extras = LOCKED_EXTRAS[lock]
    asked = PROJECT["build-system"]["requires"] if extras is None else list(PROJECT["project"]["dependencies"])
    for extra in extras or ():
        asked += PROJECT["project"]["optional-dependencies"][extra]
    versions = locked(lock)
    for requirement in map(Requirement, asked):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}: run `make lock`"
        assert requirement.specifier.contains(version), f"{lock} has {requirement.name} {version}: run `make lock`"


def test_serving_locks_hold_no_torch_and_one_onnx_runtime() -> None:
    for lock, runtime in (("serve-cpu.txt", "onnxruntime"), ("serve-gpu.txt", "onnxruntime-gpu")):
        names = set(locked(lock))
        assert not names & {"torch", "triton", "onnx", "onnxscript", "scikit-learn", "tensorboard"}
        assert names & {"onnxruntime", "onnxruntime-gpu"} == {runtime}


def test_the_lock_for_another_torch_differs_by_torch_and_what_only_torch_needs() -> None:
    whole, rest = locked("train.txt"), locked("train-without-torch.txt")
    assert rest.items() <= whole.items()
    assert "torch" in whole
    assert not [name for name in rest if re.match(r"torch|triton|nvidia-|cuda-", name)]


def test_a_model_is_served_by_the_versions_that_its_export_was_checked_with() -> None:
    serving, training = locked("serve-cpu.txt"), locked("train.txt")
    assert {"numpy", "onnxruntime", "pydantic"} <= serving.keys() & training.keys()
    for name in serving.keys() & training.keys():
        assert serving[name] == training[name], f"{name}: run `make lock`"


@pytest.mark.parametrize("target", SERVING + TRAINING)
def test_images_run_as_a_numbered_user_without_rights(target: str) -> None:
    user, group = map(int, last(target, "USER").split(":"))
    assert user >= 10001
    assert group >= 10001


@pytest.mark.parametrize("target", SERVING)
def test_serving_images_start_without_a_shell_and_probe_their_readiness(target: str) -> None:
    assert json.loads(last(target, "CMD")) == ["python", "-m", "service"]
    interpreter, option, program = json.loads(last(target, "HEALTHCHECK").partition(" CMD ")[2])
    assert (interpreter, option) == ("python", "-c")
    assert "/v2/health/ready" in program
    compile(program, "HEALTHCHECK", "exec")


def test_training_and_serving_images_begin_alike_so_that_volumes_have_one_owner() -> None:
    assert last("train", "USER") == last("serve-cpu", "USER") == last("serve-gpu", "USER")


def test_serving_on_a_cpu_is_the_default_image() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages[-1] == "serve-cpu"


def test_images_carry_the_version_of_the_project() -> None:
    assert dict(instructions("serve-cpu"))["ARG"]
    assert ("ARG", f"VERSION={PROJECT['project']['version']}") in instructions("serve-cpu")


def test_compose_confines_every_container() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        if service["image"].startswith("latent-codes:"):
            assert service["tmpfs"] == "/tmp", name


def test_training_writes_the_volume_that_services_only_read() -> None:
    services = compose()["services"]
    assert {name for name, each in services.items() if "models:/models" in each["volumes"]} == {"train", "train-cpu"}
    assert {name for name, each in services.items() if "models:/models:ro" in each["volumes"]} == {
        "latent-codes",
        "latent-codes-gpu",
        "latent-codes-replica",
    }


def test_only_what_needs_a_gpu_reserves_one_and_only_the_service_starts_unasked() -> None:
    services = compose()["services"]
    devices = {
        name: each["deploy"]["resources"]["reservations"]["devices"]
        for name, each in services.items()
        if "resources" in each.get("deploy", {})
    }
    assert devices.keys() == {"latent-codes-gpu", "train"}
    for name, count in {"latent-codes-gpu": 1, "train": "${TRAIN_GPUS:-1}"}.items():
        assert devices[name] == [{"driver": "nvidia", "count": count, "capabilities": ["gpu"]}]
    assert [name for name, each in services.items() if not each.get("profiles")] == ["latent-codes"]
    assert services["latent-codes-gpu"]["environment"]["LATENT_CODES_DEVICE"] == "cuda"


def test_every_image_that_compose_builds_is_one_of_the_dockerfile() -> None:
    built = [service for service in compose()["services"].values() if "build" in service]
    assert len(built) == 5
    for service in built:
        assert instructions(service["build"]["target"])
        assert service["image"] == f"latent-codes:{service['build']['target']}"


def test_the_build_sees_only_what_the_images_are_made_of() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    copied = {
        source
        for target in ("application", "serve-cpu-files", "serve-gpu-files", "train-files")
        for instruction, arguments in instructions(target)
        if instruction == "COPY" and not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    }
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source
