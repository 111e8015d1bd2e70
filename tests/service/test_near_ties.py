"""Near ties: rows that a margin flags, with the margin set by hand, since the CPU needs none."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_CATEGORICAL, TINY_MODELS

from models.repository import Repository
from service.engine import Engine
from service.providers import DeviceOptions
from service.schemas import EncodeReply


def engine_of(repository: Path, name: str, margin: float | None) -> Engine:
    return Engine.load(Repository(repository).read(name), device="cpu", near_tie_margin=margin)


@pytest.mark.parametrize("name", [model.name for model in TINY_MODELS])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_a_row_is_a_near_tie_where_one_of_its_margins_is_below(
    tiny_repository: Path, name: str, temperature: float, num_samples: int
) -> None:
    margin = 0.3
    engine = engine_of(tiny_repository, name, margin)
    inputs = next(model for model in TINY_MODELS if model.name == name).inputs(40)
    given = {"temperature": temperature, "seed": 7, "num_samples": num_samples}
    found = engine.encode(inputs, outputs=("near_ties", "margins", "codes"), **given)
    assert found.margins is not None
    np.testing.assert_array_equal(found.near_ties, (found.margins < margin).any(axis=-1), strict=True)
    assert found.near_ties.any()
    assert not found.near_ties.all()
    alone = engine.encode(inputs, outputs=("near_ties",), **given)
    assert alone.margins is None
    assert alone.codes is None
    np.testing.assert_array_equal(alone.near_ties, found.near_ties)
    np.testing.assert_array_equal(engine.encode(inputs, **given).codes, found.codes)


def test_on_the_cpu_no_row_is_one(tiny_repository: Path) -> None:
    engine = engine_of(tiny_repository, TINY_CATEGORICAL.name, None)
    assert engine.near_tie_margin == 0
    assert not engine.encode(np.zeros((3, TINY_CATEGORICAL.size)), outputs=("near_ties",)).near_ties.any()


def test_a_model_that_pads_and_binds_gives_the_codes_of_one_that_does_not(tiny_repository: Path) -> None:
    stored = Repository(tiny_repository).read(TINY_CATEGORICAL.name)
    plain = Engine.load(stored, device="cpu")
    other = Engine.load(stored, device="cpu", options=DeviceOptions(binds_io=True, pads_rows=True))
    other.warm()
    for num_rows in (1, 3, 50, 200):
        inputs = TINY_CATEGORICAL.inputs(num_rows)
        for temperature in (0.0, 1.0):
            given = {"temperature": temperature, "seed": 3, "outputs": ("codes", "relaxed", "margins")}
            found, expected = (engine.reconstruct(inputs, **given) for engine in (other, plain))
            np.testing.assert_array_equal(found.encoding.codes, expected.encoding.codes)
            np.testing.assert_array_equal(found.encoding.relaxed, expected.encoding.relaxed)
            np.testing.assert_array_equal(found.outputs, expected.outputs)


@pytest.fixture(scope="module")
def service(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> ServiceProcess:
    log = tmp_path_factory.mktemp("service") / "log"
    settings = {"NEAR_TIE_MARGIN": "0.3", "PAD_BATCHES": "true", "IO_BINDING": "true"}
    with ServiceProcess([tiny_repository], log=log, **settings) as running:
        yield running


def test_a_service_flags_them_counts_them_and_says_its_margin(service: ServiceProcess, tiny_repository: Path) -> None:
    inputs = TINY_CATEGORICAL.inputs(40)
    expected = engine_of(tiny_repository, TINY_CATEGORICAL.name, 0.3).encode(inputs, outputs=("codes", "near_ties"))
    path = f"/v1/models/{TINY_CATEGORICAL.name}"
    with httpx.Client(base_url=service.url, timeout=30) as client:
        assert client.get(path).json()["near_tie_margin"] == 0.3
        reply = client.post(f"{path}/encode", json={"inputs": inputs.tolist(), "outputs": ["codes", "near_ties"]})
        EncodeReply.model_validate(reply.json())
        assert reply.json()["near_ties"] == expected.near_ties.tolist()
        assert reply.json()["codes"] == expected.codes.tolist()
        metrics = client.get("/metrics").text
    counted = f'latent_codes_near_ties_total{{model="{TINY_CATEGORICAL.name}",version="1"}} {expected.near_ties.sum()}'
    assert counted in metrics
