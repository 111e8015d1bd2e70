"""The process: how it starts, refuses to start, and ends."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import onnxruntime
import pytest
from service_process import ServiceProcess, environment, free_port


def start_and_fail(**settings: object) -> subprocess.CompletedProcess[str]:
    repository = Path(str(settings.pop("repository")))
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment([repository], **settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_sigterm_ends_the_service_with_status_0(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log") as service:
        assert httpx.get(f"{service.url}/v2/health/live").json() == {"live": True}
        assert service.stop() == 0
    assert "Traceback" not in service.log_text()


def test_an_interrupt_ends_the_service_with_status_130(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log") as service:
        assert service.stop(signal.SIGINT) == 130
    assert "Traceback" not in service.log_text()


def test_a_port_in_use_is_told_in_one_sentence(tiny_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = start_and_fail(repository=tiny_repository, host="127.0.0.1", port=port, log_level="warning")
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"Latent Codes does not start: cannot listen on 127.0.0.1 port {port}: ")
    assert finished.stderr.count("\n") == 1


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime was built with CUDA"
)
def test_demanding_cuda_without_it_refuses_to_start_in_one_sentence(tiny_repository: Path) -> None:
    finished = start_and_fail(repository=tiny_repository, device="cuda", port=free_port())
    assert finished.returncode == 1
    assert finished.stderr.startswith("Latent Codes does not start: device is cuda, and ")
    assert finished.stderr.count("\n") == 1


def test_a_service_with_other_limits_holds_them(tmp_path: Path, tiny_repository: Path) -> None:
    settings = {"max_body_bytes": 400, "max_rows": 3, "max_batch_rows": 1, "max_inline_ms": 0}
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service,
        httpx.Client(base_url=service.url) as client,
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
            httpx.get(f"{service.url}/v1/models")
        assert ('"route":"/v1/models"' in service.log_text()) == access_log
