"""The process: how it starts, refuses to start, and ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import onnxruntime
import pytest
from ports import ReservedPort
from service_process import ServiceProcess, environment


def start_and_fail(*before: str, repository: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    with ReservedPort() as port:
        return subprocess.run(
            [*before, sys.executable, "-m", "service"],
            env=environment([repository], **{"port": port.number} | settings),
            capture_output=True,
            text=True,
            timeout=240,
        )


def test_sigterm_ends_the_service_with_status_0(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log") as service:
        assert httpx.get(f"{service.url}/v2/health/live", timeout=30).json() == {"live": True}
        assert service.stop() == 0
    assert "Traceback" not in service.log_text()


def test_an_interrupt_ends_the_service_with_status_130(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log") as service:
        assert service.stop(signal.SIGINT) == 130
    assert "Traceback" not in service.log_text()


def test_a_repository_that_is_not_there_is_told_in_one_sentence(tmp_path: Path) -> None:
    finished = start_and_fail(repository=tmp_path / "nowhere", log_level="warning")
    assert finished.returncode == 1
    assert finished.stderr == (
        f"Latent Codes does not start: the model repository {tmp_path / 'nowhere'} is not a folder: make or mount it, "
        "or name others in LATENT_CODES_MODEL_REPOSITORIES\n"
    )


def test_a_repository_that_this_user_may_not_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir(mode=0)
    # Root is stopped by no permission unless it is without the right to pass them over.
    confined = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.access(repository, os.R_OK) else ()
    if confined and shutil.which(confined[0]) is None:
        pytest.skip("this user may read everything, and there is no setpriv to change that")
    finished = start_and_fail(*confined, repository=repository, log_level="warning")
    assert finished.returncode == 1
    assert finished.stderr == (
        f"Latent Codes does not start: the model repository {repository}: cannot be listed: Permission denied; "
        f"let the user {os.getuid()} in, or name another folder\n"
    )


def test_an_address_of_another_machine_is_told_in_one_sentence(tiny_repository: Path) -> None:
    finished = start_and_fail(repository=tiny_repository, host="192.0.2.1", log_level="warning")
    assert finished.returncode == 1
    assert "192.0.2.1" in finished.stderr
    assert "LATENT_CODES_HOST has to be an address of this machine" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_port_in_use_is_told_in_one_sentence(tiny_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = start_and_fail(repository=tiny_repository, host="127.0.0.1", port=port, log_level="warning")
    assert finished.returncode == 1
    assert finished.stderr == (
        f"Latent Codes does not start: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "end what listens there, or choose another with LATENT_CODES_PORT\n"
    )


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime was built with CUDA"
)
def test_demanding_cuda_without_it_refuses_to_start_in_one_sentence(tiny_repository: Path) -> None:
    finished = start_and_fail(repository=tiny_repository, device="cuda")
    assert finished.returncode == 1
    assert finished.stderr.startswith("Latent Codes does not start: device is cuda, and ")
    assert finished.stderr.count("\n") == 1


def test_a_service_with_other_limits_holds_them(tmp_path: Path, tiny_repository: Path) -> None:
    settings = {"max_body_bytes": 400, "max_rows": 3, "max_batch_rows": 1, "max_inline_ms": 0}
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):

        def encode(num_rows: int, **parameters: int) -> int:
            body = {"inputs": [[1] * 10] * num_rows, **parameters}
            return client.post("/v1/models/tiny-categorical/encode", json=body).status_code

        assert encode(3) == 200
        assert encode(4) == 422
        assert encode(1, num_samples=3) == 200
        assert encode(2, num_samples=2) == 422
        assert encode(100) == 413
        assert client.post("/v1/models/tiny-categorical/generate", json={"num_samples": 3}).status_code == 200
        assert client.post("/v1/models/tiny-categorical/generate", json={"num_samples": 4}).status_code == 422
        assert client.post("/v1/models/tiny-categorical/decode", json={"codes": [[0] * 5] * 4}).status_code == 422


def test_requests_are_logged_only_when_asked_for(tmp_path: Path, tiny_repository: Path) -> None:
    for access_log in (False, True):
        with ServiceProcess([tiny_repository], log=tmp_path / "log", access_log=access_log) as service:
            httpx.get(f"{service.url}/v1/models", timeout=30)
        assert ('"route":"/v1/models"' in service.log_text()) == access_log
