"""How codes are used: counts of all workers over a sliding window, against counts made here."""

import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL

from models.repository import Repository
from service.engine import Engine
from service.observation.arena import Arena
from service.observation.usage import Counts, Usage


@pytest.fixture(scope="module")
def engine(tiny_repository: Path) -> Engine:
    return Engine.load(Repository(tiny_repository).read("tiny-categorical"))


def counts_of(arena: Arena, place: int = 0, window_seconds: float = 600) -> Counts:
    return Counts(arena, arena.region(place), window_seconds=window_seconds)


def usage_of(counts: Counts, engine: Engine) -> Usage:
    found = counts.usage(engine.manifest)
    assert found is not None
    return found


def note(counts: Counts, engine: Engine, codes: np.ndarray) -> None:
    counts.note(engine, TINY_CATEGORICAL.inputs(1), codes)
    counts.flush()


def test_entropy_and_dead_latents_are_those_of_the_codes(engine: Engine) -> None:
    codes = np.array([[0, 1, 2, 3, 4], [0, 2, 2, 3, 5], [0, 1, 3, 3, 0], [0, 2, 3, 3, 1]], np.uint8)
    counts = counts_of(Arena.create(1))
    note(counts, engine, codes)
    usage = usage_of(counts, engine)
    assert usage.num_rows == 4
    np.testing.assert_allclose(usage.entropy_bits, [0, 1, 1, 0, 2])
    assert usage.dead.tolist() == [True, False, False, True, False]
    assert usage.unseen.tolist() == [5, 4, 4, 5, 2]


def test_all_workers_and_all_samples_are_in_it(engine: Engine) -> None:
    arena = Arena.create(2)
    for place in range(2):
        note(counts_of(arena, place), engine, np.full((3, 7, 5), place, np.uint8))
    usage = usage_of(counts_of(arena), engine)
    assert usage.num_rows == 2 * 3 * 7
    np.testing.assert_allclose(usage.entropy_bits, 1)


def test_what_is_older_than_the_window_is_not_in_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("service.observation.usage.time.monotonic", lambda: now)
    counts = counts_of(Arena.create(1), window_seconds=100)
    note(counts, engine, np.zeros((6, 5), np.uint8))
    now += 50
    note(counts, engine, np.ones((2, 5), np.uint8))
    assert usage_of(counts, engine).num_rows == 8
    now += 60
    usage = usage_of(counts, engine)
    assert usage.num_rows == 2
    # All six that came before were another symbol.
    np.testing.assert_allclose(usage.drift, 1)
    now += 1000
    usage = usage_of(counts, engine)
    assert (usage.num_rows, usage.drift.max()) == (0, 0)


def test_near_ties_are_looked_for_in_rows_that_came(engine: Engine) -> None:
    counts = counts_of(Arena.create(1))
    assert usage_of(counts, engine).near_tie_ratio is None
    counts.note(engine, TINY_CATEGORICAL.inputs(3), np.zeros((3, 5), np.uint8))
    counts.look_at_margins()
    assert usage_of(counts, engine).near_tie_ratio == 0.0


def test_noting_codes_costs_a_request_little(engine: Engine) -> None:
    counts = counts_of(Arena.create(1))
    codes, inputs = np.zeros((1, 5), np.uint8), TINY_CATEGORICAL.inputs(1)

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(4096):
            counts.note(engine, inputs, codes)
        return (time.perf_counter() - start) / 4096

    assert min(seconds() for _ in range(5)) < 10e-6


def test_the_route_and_the_metrics_say_how_codes_were_used(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        inputs = np.round(TINY_BINARY.inputs(24), 3)
        codes = TINY_BINARY.encode(inputs).codes
        for start in range(0, 24, 2):
            body = {"inputs": inputs[start : start + 2].tolist()}
            httpx.post(f"{service.url}/v1/models/tiny-binary/encode", json=body)
        time.sleep(1.2)  # workers count twice a second
        reply = httpx.get(f"{service.url}/v1/models/tiny-binary/statistics").json()
        assert reply["num_rows"] == 24
        shares = codes.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nan_to_num(shares * np.log2(shares)) - np.nan_to_num((1 - shares) * np.log2(1 - shares))
        np.testing.assert_allclose(reply["entropy_bits"], entropy, atol=1e-6)
        assert reply["dead_latents"] == np.flatnonzero((shares == 0) | (shares == 1)).tolist()
        assert reply["near_tie_ratio"] is not None
        metrics = httpx.get(f"{service.url}/metrics").text
        assert 'latent_codes_code_window_rows{model="tiny-binary",version="1"} 24' in metrics
        assert 'latent_codes_code_entropy_bits{model="tiny-binary",version="1",latent="0"}' in metrics
        versioned = httpx.get(f"{service.url}/v1/models/tiny-binary/versions/1/statistics").json()
        assert versioned["num_rows"] == 24
        assert httpx.get(f"{service.url}/v1/models/nobody/statistics").status_code == 404
