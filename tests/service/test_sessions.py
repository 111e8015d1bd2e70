"""Runs that are bound to memory and padded give what plain runs give, bit for bit, on the CPU."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel

from models.graphs import signatures
from models.manifest import Role
from service.providers import CPU, DeviceOptions
from service.sessions import GraphSession, bucket

Open = Callable[[Role, DeviceOptions], GraphSession]
OPTIONS = [
    DeviceOptions(binds_io=True),
    DeviceOptions(pads_rows=True),
    DeviceOptions(binds_io=True, pads_rows=True),
]


@pytest.fixture(params=[TINY_BINARY, TINY_CATEGORICAL], ids=lambda model: model.name)
def model(request: pytest.FixtureRequest) -> TinyModel:
    return request.param


@pytest.fixture
def open_graph(model: TinyModel) -> Open:
    graphs = model.graphs()
    signature = signatures(model.manifest(graphs))
    return lambda role, options: GraphSession(
        graphs[role], signature[role], device="cpu", num_threads=1, options=options
    )


def inputs_of(model: TinyModel, role: Role, num_rows: int) -> list[np.ndarray]:
    signature = signatures(model.manifest(model.graphs()))[role]
    random = np.random.default_rng(num_rows)
    return [(random.random((num_rows, *spec.shape)) + 0.1).astype(spec.dtype) for spec in signature.inputs]


@pytest.mark.parametrize("options", OPTIONS, ids=["bound", "padded", "bound-and-padded"])
@pytest.mark.parametrize("role", ["encoder", "sampler", "decoder"])
def test_every_output_is_that_of_a_plain_run(
    model: TinyModel, open_graph: Open, role: Role, options: DeviceOptions
) -> None:
    plain, other = open_graph(role, DeviceOptions()), open_graph(role, options)
    assert other.provider == CPU
    names = [spec.name for spec in signatures(model.manifest(model.graphs()))[role].outputs]
    for num_rows in (1, 2, 3, 5, 8, 17, 33, 64):
        inputs = inputs_of(model, role, num_rows)
        found, expected = other.run(*inputs, outputs=names), plain.run(*inputs, outputs=names)
        for array, expected_array in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, expected_array, strict=True)


def test_only_the_outputs_that_are_named_come_and_in_their_order(model: TinyModel, open_graph: Open) -> None:
    session = open_graph("encoder", DeviceOptions(binds_io=True, pads_rows=True))
    codes, logits = session.run(*inputs_of(model, "encoder", 3), outputs=("codes", "logits"))
    assert (codes.dtype.kind, logits.dtype.kind) == ("u", "f")
    assert len(codes) == len(logits) == 3


def test_inputs_that_do_not_lie_in_one_piece_are_bound_too(model: TinyModel, open_graph: Open) -> None:
    plain, bound = (open_graph("encoder", DeviceOptions(binds_io=binds)) for binds in (False, True))
    (rows,) = inputs_of(model, "encoder", 10)
    np.testing.assert_array_equal(bound.run(rows[::2], outputs=("logits",)), plain.run(rows[::2], outputs=("logits",)))


def test_rows_are_padded_to_the_next_power_of_two() -> None:
    assert [bucket(num_rows) for num_rows in (1, 2, 3, 4, 5, 64, 65, 1000)] == [1, 2, 4, 4, 8, 64, 128, 1024]


def test_what_a_run_costs_is_not_raised_by_what_else_the_processor_does(
    open_graph: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_graph("encoder", DeviceOptions())
    run = session.run

    def interrupted(*inputs: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        time.sleep(0.05)
        return run(*inputs, outputs=outputs)

    monkeypatch.setattr(session, "run", interrupted)
    cost = session.cost(64)
    assert 0 < cost.seconds(1) <= cost.seconds(64) < 0.04


def test_padded_sessions_are_warm_in_every_size_and_others_run_nothing(
    open_graph: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pads_rows, expected in ((True, [1, 2, 4, 8, 16, 32]), (False, [])):
        session = open_graph("encoder", DeviceOptions(pads_rows=pads_rows))
        sizes: list[int] = []
        run = session.run

        def noted(*inputs: np.ndarray, outputs: object, run: object = run, sizes: list[int] = sizes) -> object:
            sizes.append(len(inputs[0]))
            return run(*inputs, outputs=outputs)

        monkeypatch.setattr(session, "run", noted)
        session.warm(20)
        assert sizes == expected
