"""How codes are used: counts of all workers over a sliding window, against counts made here."""

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL
from waiting import eventually

from models.manifest import CodeUsage, Manifest
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


def with_usage(engine: Engine, codes: np.ndarray) -> Manifest:
    """The engine's manifest, saying that codes were used in training as these are."""
    manifest = engine.manifest
    return manifest.model_copy(update={"usage": CodeUsage.of(codes, manifest.layout, manifest.kind, split="valid")})


def drawn(probabilities: np.ndarray, num_rows: int, seed: int) -> np.ndarray:
    """Codes [num_rows, 5], each latent by the same law."""
    return np.random.default_rng(seed).choice(6, p=probabilities, size=(num_rows, 5)).astype(np.uint8)


LAW = np.array([0.4, 0.3, 0.15, 0.1, 0.05, 0.0])


def test_training_drift_is_the_distance_from_the_shares_of_the_manifest(engine: Engine) -> None:
    trained = np.array([[0, 0, 0, 1, 5], [0, 1, 2, 1, 5], [0, 0, 4, 1, 5], [0, 1, 5, 1, 5]], np.uint8)
    made = np.array([[0, 1, 0, 2, 5], [0, 1, 2, 2, 4]], np.uint8)
    counts = counts_of(Arena.create(1))
    note(counts, engine, made)
    usage = counts.usage(with_usage(engine, trained))
    assert usage is not None
    assert usage.training_drift is not None
    # Shares of 1/4 each against 1/2 for two of them; all against none; one half against all.
    np.testing.assert_allclose(usage.training_drift, [0, 0.5, 0.5, 1, 0.5])
    assert usage.sampled_ratio == 0.0
    # It needs no codes from before the window, which drift does.
    assert usage.drift.max() == 0


def test_without_shares_in_the_manifest_there_is_no_training_drift(engine: Engine) -> None:
    counts = counts_of(Arena.create(1))
    note(counts, engine, np.zeros((3, 5), np.uint8))
    usage = usage_of(counts, engine)
    assert (usage.training_drift, usage.by_chance) == (None, None)


@pytest.mark.parametrize("num_rows", [20, 200, 2000])
def test_chance_alone_stays_below_its_bound_and_a_changed_law_does_not(engine: Engine, num_rows: int) -> None:
    """A correct bound is passed once in a hundred windows at most, so by two of eight with a probability of 0.003."""
    passed = []
    for seed in range(8):
        counts = counts_of(Arena.create(1))
        note(counts, engine, drawn(LAW, num_rows, seed))
        usage = counts.usage(with_usage(engine, drawn(LAW, 1000, 100 + seed)))
        assert usage is not None
        assert usage.training_drift is not None
        assert usage.by_chance is not None
        assert usage.by_chance < (1.0 if num_rows == 20 else 0.35)
        passed.append(usage.training_drift.max() > usage.by_chance)
    assert sum(passed) <= 1
    counts = counts_of(Arena.create(1))
    note(counts, engine, drawn(LAW[::-1], num_rows, 1))
    usage = counts.usage(with_usage(engine, drawn(LAW, 1000, 2)))
    assert usage is not None
    if num_rows > 20:
        assert usage.training_drift.max() > usage.by_chance + 0.1  # type: ignore[operator, union-attr]


def test_the_share_of_sampled_codes_is_counted_beside_them(engine: Engine) -> None:
    counts = counts_of(Arena.create(1))
    counts.note(engine, TINY_CATEGORICAL.inputs(1), np.zeros((1, 3, 5), np.uint8), is_sampled=True)
    counts.note(engine, TINY_CATEGORICAL.inputs(1), np.zeros((1, 5), np.uint8))
    counts.flush()
    assert usage_of(counts, engine).sampled_ratio == 0.75


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
        start = time.thread_time()  # of the processor: others may have it meanwhile
        for _ in range(4096):
            counts.note(engine, inputs, codes)
        return (time.thread_time() - start) / 4096

    assert min(seconds() for _ in range(5)) < 10e-6


def test_the_route_and_the_metrics_say_how_codes_were_used(tmp_path: Path, tiny_repository: Path) -> None:
    with ServiceProcess([tiny_repository], log=tmp_path / "log", workers=2) as service:
        inputs = np.round(TINY_BINARY.inputs(24), 3)
        codes = TINY_BINARY.encode(inputs).codes
        for start in range(0, 24, 2):
            body = {"inputs": inputs[start : start + 2].tolist()}
            httpx.post(f"{service.url}/v1/models/tiny-binary/encode", json=body, timeout=30)

        def statistics() -> dict[str, Any]:
            found: dict[str, Any] = httpx.get(f"{service.url}/v1/models/tiny-binary/statistics", timeout=30).json()
            return found

        # Each worker counts twice a second, and looks at margins then.
        eventually(lambda: statistics()["num_rows"] == 24 and statistics()["near_tie_ratio"] is not None)
        reply = statistics()
        shares = codes.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nan_to_num(shares * np.log2(shares)) - np.nan_to_num((1 - shares) * np.log2(1 - shares))
        np.testing.assert_allclose(reply["entropy_bits"], entropy, atol=1e-6)
        assert reply["dead_latents"] == np.flatnonzero((shares == 0) | (shares == 1)).tolist()
        metrics = httpx.get(f"{service.url}/metrics", timeout=30).text
        assert 'latent_codes_code_window_rows{model="tiny-binary",version="1"} 24' in metrics
        assert 'latent_codes_code_entropy_bits{model="tiny-binary",version="1",latent="0"}' in metrics
        assert 'latent_codes_code_sampled_ratio{model="tiny-binary",version="1"} 0' in metrics
        versioned = httpx.get(f"{service.url}/v1/models/tiny-binary/versions/1/statistics", timeout=30).json()
        assert versioned["num_rows"] == 24
        assert httpx.get(f"{service.url}/v1/models/nobody/statistics", timeout=30).status_code == 404


SHIPPED = Path(__file__).parents[2] / "models" / "shipped"


def test_shipped_models_are_watched_for_drift_from_training(tmp_path: Path) -> None:
    """A black page and a white one, again and again, are no digits; sampled codes are counted as such."""
    with (
        ServiceProcess([SHIPPED], log=tmp_path / "log") as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        model = "/v1/models/mnist-binary"
        black = {"inputs": [[0.0] * 784] * 100}
        assert client.post(f"{model}/encode", json=black).status_code == 200
        found = client.get(f"{model}/statistics").json()
        assert len(found["training_drift"]) == 64
        assert max(found["training_drift"]) > found["training_drift_by_chance"] + 0.1
        assert found["sampled_ratio"] == 0
        assert client.post(f"{model}/reconstruct", json=black | {"temperature": 1, "seed": 1}).status_code == 200
        assert client.get(f"{model}/statistics").json()["sampled_ratio"] == 0.5
        metrics = client.get("/metrics").text
        for name in ("mean", "max", "by_chance"):
            assert f'latent_codes_code_training_drift_{name}{{model="mnist-binary",version="1"}}' in metrics
        assert "usage" not in client.get(model).json()
