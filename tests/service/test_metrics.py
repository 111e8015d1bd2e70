"""Metrics: what the service counts, that all workers' numbers are in it, and that it is what Prometheus reads."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service_process import ServiceProcess
from tiny_models import TINY_BINARY
from waiting import eventually

from models.repository import Repository
from service.observation.arena import REGION_BYTES, Arena
from service.observation.families import Family, Meter, Sample, exposition, totals

ENCODE = "/v1/models/tiny-binary/encode"
ROW = [0.5] * 16


def scraped(service: ServiceProcess) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    reply = httpx.get(f"{service.url}/metrics", timeout=30)
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name.removeprefix("latent_codes_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    """The sum over all samples of that name with these labels."""
    return sum(
        number for (known, pairs), number in found.items() if known == name and labels.items() <= dict(pairs).items()
    )


def test_requests_of_all_workers_are_counted_once(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        for number in range(60):
            # A connection each: the kernel spreads them over the workers.
            body = {"inputs": [ROW] * 3} if number % 3 else {"inputs": []}
            httpx.post(f"{service.url}{ENCODE}", json=body, timeout=30)
        encode = {"route": "/v1/models/{model}/encode", "model": "tiny-binary", "method": "POST"}
        # A worker may be asked before another one has counted what it has just answered.
        eventually(lambda: value(scraped(service), "http_requests_total", **encode) == 60)
        found = scraped(service)
        assert value(found, "http_requests_total", **encode, status="200") == 40
        assert value(found, "http_requests_total", **encode, status="422") == 20
        assert value(found, "http_request_duration_seconds_count", **encode) == 60
        assert 0 < value(found, "http_request_duration_seconds_sum", **encode) < 60
        assert value(found, "rejected_total", cause="invalid-fields") == 20
        assert value(found, "codes_total", model="tiny-binary", version="1") == 120
        assert value(found, "workers", phase="serving") == 2
        assert value(found, "ready") == 1
        assert value(found, "model_info", model="tiny-binary", provider="CPUExecutionProvider") == 1
        eventually(lambda: value(scraped(service), "http_requests_in_flight") == 1)  # the scrape itself


def test_what_a_worker_counted_is_not_lost_when_it_dies(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=1) as service:
        for _ in range(10):
            httpx.post(f"{service.url}{ENCODE}", json={"inputs": [ROW]}, timeout=30)
        # A request is counted once its reply is out.
        eventually(lambda: value(scraped(service), "http_requests_total", route="/v1/models/{model}/encode") == 10)
        [worker] = service.workers()
        os.kill(worker, signal.SIGKILL)
        httpx.post(f"{service.url}{ENCODE}", json={"inputs": [ROW]}, timeout=60)
        eventually(lambda: value(scraped(service), "http_requests_total", route="/v1/models/{model}/encode") == 11)
        found = scraped(service)
        assert value(found, "worker_deaths_total") == 1
        assert value(found, "http_requests_in_flight") == 1


def test_versions_that_come_and_go_and_are_refused_are_counted_once(tmp_path: Path, tiny_repository: Path) -> None:
    root = Path(shutil.copytree(tiny_repository, tmp_path / "repository"))
    with ServiceProcess([root], log=tmp_path / "log", workers=2, repository_poll_seconds=0.1) as service:

        def events(model: str) -> dict[str, float]:
            found = scraped(service)
            kinds = ("loaded", "refused", "unloaded")
            return {kind: value(found, "model_load_events_total", model=model, event=kind) for kind in kinds}

        eventually(lambda: events("tiny-binary")["loaded"] == 1)
        TINY_BINARY.publish(Repository(root))
        eventually(lambda: events("tiny-binary")["loaded"] == 2)
        (root / "tiny-binary" / "2").rename(tmp_path / "2")  # at once: a look may come in the midst of a removal
        eventually(lambda: events("tiny-binary")["unloaded"] == 1)
        shutil.copytree(root / "tiny-binary" / "1", broken := tmp_path / "3")
        (broken / "decoder.onnx").write_bytes(b"not what the manifest says")
        broken.rename(root / "tiny-binary" / "3")
        eventually(lambda: events("tiny-binary")["refused"] == 1)
        time.sleep(1.5)  # several looks more
        assert events("tiny-binary") == {"loaded": 2, "refused": 1, "unloaded": 1}
        assert events("tiny-categorical") == {"loaded": 1, "refused": 0, "unloaded": 0}


def test_a_name_that_anybody_can_invent_is_no_label(running_service: ServiceProcess) -> None:
    for number in range(5):
        httpx.post(f"{running_service.url}/v1/models/invented-{number}/encode", json={"inputs": [ROW]}, timeout=30)
        httpx.get(f"{running_service.url}/invented/{number}", timeout=30)
        httpx.request("BREW", f"{running_service.url}/v1/models", timeout=30)
    assert "invented" not in httpx.get(f"{running_service.url}/metrics", timeout=30).text
    assert "BREW" not in httpx.get(f"{running_service.url}/metrics", timeout=30).text


def test_every_bucket_of_a_histogram_holds_those_below_it() -> None:
    family = Family("wait_seconds", "histogram", "Waiting.", ("model",), (0.1, 1.0))
    arena = Arena.create(2)
    for place, seconds in ((0, 0.05), (0, 0.1), (1, 0.5), (1, 7.0)):
        Meter(family, arena.region(place)).observe(("a",), seconds)
    samples = totals(family, arena, range(2))
    assert samples == [Sample(("a",), [2.0, 1.0, 1.0, pytest.approx(7.65)])]
    text = "\n".join(exposition(family, samples)) + "\n"
    [parsed] = text_string_to_metric_families(text)
    found = {(sample.name, sample.labels.get("le")): sample.value for sample in parsed.samples}
    assert found["latent_codes_wait_seconds_bucket", "0.1"] == 2
    assert found["latent_codes_wait_seconds_bucket", "1"] == 3
    assert found["latent_codes_wait_seconds_bucket", "+Inf"] == found["latent_codes_wait_seconds_count", None] == 4


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "new\nline", "ünïcode"])
def test_labels_come_back_as_they_were(name: str) -> None:
    family = Family("seen_total", "counter", "Seen.", ("name",))
    arena = Arena.create(1)
    Meter(family, arena.region(0)).add((name,), 3)
    [parsed] = text_string_to_metric_families("\n".join(exposition(family, totals(family, arena, [0]))) + "\n")
    assert [(sample.labels["name"], sample.value) for sample in parsed.samples] == [(name, 3)]


def test_a_region_is_found_again_by_who_comes_after() -> None:
    arena = Arena.create(1)
    arena.region(0).block("a", 3)[2] = 5.0
    arena.region(0).block("b", 1)[0] = 7.0
    assert {key: list(block) for key, block in Arena(arena.descriptor).blocks(0)} == {"a": [0, 0, 5], "b": [7]}
    assert arena.region(0).block("a", 3)[2] == 5.0


def test_a_full_region_loses_counts_and_nothing_else() -> None:
    arena = Arena.create(2)
    region = arena.region(0)
    region.block("most", REGION_BYTES // 8 - 10)
    region.block("too much", 100)[0] = 1.0
    assert [key for key, _ in arena.blocks(0)] == ["most"]
    assert list(arena.blocks(1)) == []


def test_counting_a_request_costs_little() -> None:
    """The budget of all that is done beside a request is 15 microseconds; counting has a tenth of it."""
    family = Family("seconds", "histogram", "Time.", ("route", "status"), tuple(2.0**power for power in range(-13, 4)))
    meter = Meter(family, Arena.create(1).region(0))
    labels = ("/v1/models/{model}/encode", "200")
    best = min(_seconds_of(lambda: meter.observe(labels, 0.0004), 2000) for _ in range(20))
    assert best < 5e-6


def _seconds_of(work: object, times: int) -> float:
    start = time.thread_time()  # of the processor: others may have it meanwhile
    for _ in range(times):
        work()  # type: ignore[operator]
    return (time.thread_time() - start) / times


def test_a_request_has_a_line_in_the_access_log_and_nothing_of_what_it_said(
    tmp_path: Path, tiny_repository: Path
) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", access_log=True) as service:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = {"X-Request-ID": "one-of-mine", "traceparent": trace}
        httpx.post(f"{service.url}{ENCODE}", json={"inputs": [ROW] * 3}, headers=headers, timeout=30)
        httpx.get(f"{service.url}/v1/models?q=private", timeout=30)
        # A line is written when its reply has been sent, and may come a moment after it.
        eventually(lambda: '"/v1/models"' in service.log_text())
        lines = [json.loads(line) for line in service.log_text().splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line["request_id"] == "one-of-mine"]
    assert line["route"] == "/v1/models/{model}/encode"
    assert (line["model"], line["rows"], line["status"], line["method"]) == ("tiny-binary", 3, 200, "POST")
    assert line["traceparent"] == trace
    assert 0 < line["milliseconds"] < 60_000
    assert "private" not in service.log_text()
    assert any(line["route"] == "/v1/models" for line in lines)
