"""Readiness of a service whose queue stays full: somebody else should get the traffic, until there is room again."""

import json
import time
from pathlib import Path

import httpx
from service_load import Asked, Load
from service_process import ServiceProcess
from waiting import eventually

FULL = {"ready": False, "failed": [], "reasons": ["the queues have been full for too long"]}
SATURATED_SECONDS = 1.0


def readiness(service: ServiceProcess) -> tuple[int, dict[str, object]]:
    reply = httpx.get(f"{service.url}/v2/health/ready", timeout=30)
    return reply.status_code, reply.json()


def metrics(service: ServiceProcess) -> str:
    return httpx.get(f"{service.url}/metrics", timeout=30).text


def test_a_queue_that_stays_full_makes_the_service_not_ready_until_there_is_room_again(
    tmp_path: Path, tiny_repository: Path
) -> None:
    settings = {"max_queue_rows": 2000, "max_inline_ms": 0, "saturated_seconds": SATURATED_SECONDS, "workers": 1}
    body = json.dumps({"num_samples": 1500, "seed": 1}).encode()
    with ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service:
        began = time.monotonic()
        # Two of these are more than may wait, so of six callers most are turned away.
        with Load(service, [Asked("/v1/models/tiny-binary/generate", body, {"seed": 1})], num_callers=6) as load:
            load.wait_for(5)
            eventually(lambda: readiness(service) == (503, FULL))
            # It answers, and that is what liveness is about; and a moment of it was no reason.
            assert httpx.get(f"{service.url}/v2/health/live", timeout=30).status_code == 200
            assert time.monotonic() - began > SATURATED_SECONDS
            # Half a second in which nobody is turned away would be room again.
            eventually(lambda: "latent_codes_ready 0" in metrics(service))
            load.wait_for(5)
        assert load.outcomes.keys() == {"right", "503"}, load.outcomes
        eventually(service.is_ready)
        assert "latent_codes_ready 1" in metrics(service)


def test_a_queue_that_is_full_for_a_moment_leaves_the_service_ready(tmp_path: Path, tiny_repository: Path) -> None:
    settings = {"max_queue_rows": 2000, "max_inline_ms": 0, "saturated_seconds": 60, "workers": 1}
    body = json.dumps({"num_samples": 1500, "seed": 1}).encode()
    with (
        ServiceProcess([tiny_repository], log=tmp_path / "log", **settings) as service,
        Load(service, [Asked("/v1/models/tiny-binary/generate", body, {"seed": 1})], num_callers=6) as load,
    ):
        load.wait_for(5)
        eventually(lambda: load.outcomes["503"] > 5)
        for _ in range(5):
            assert service.is_ready()
            time.sleep(0.3)
