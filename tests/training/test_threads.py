import dataclasses
import logging

import pytest
import torch
from tiny_runs import CPU, assert_same_run, digits, tiny_config, train

from training import commands, config, runs, threads


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 26.0}, 1),
        ({1: 1.0, 2: 0.95}, 1),
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 1.0, 2: 0.6, 4: 0.58}, 2),
        ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.9}, 4),
    ],
)
def test_more_threads_are_taken_only_where_they_are_clearly_faster(times, expected):
    assert threads.fastest(times) == expected


def test_every_count_is_measured_and_the_number_in_use_stays():
    before = torch.get_num_threads()
    times = threads.measure(tiny_config(), digits(), [1, 2])
    assert set(times) == {1, 2}
    assert all(seconds > 0 for seconds in times.values())
    assert torch.get_num_threads() == before


def test_measuring_leaves_the_numbers_of_the_run_unchanged(tmp_path):
    settings = tiny_config(num_threads=1)
    train(settings, tmp_path / "without")
    auto = dataclasses.replace(settings, training=dataclasses.replace(settings.training, num_threads="auto"))
    torch.manual_seed(0)
    threads.settled(auto, digits(), device=CPU)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))
    train(settings, tmp_path / "after")
    assert_same_run(tmp_path / "without", tmp_path / "after")


def test_a_number_in_the_configuration_is_not_measured(monkeypatch):
    monkeypatch.setattr(threads, "measure", lambda *_: pytest.fail("measured"))
    settings = tiny_config(num_threads=3)
    assert threads.settled(settings, digits(), device=CPU) is settings


def test_the_number_measured_is_logged_and_kept_with_the_run_so_that_it_resumes_with_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(threads, "measure", lambda *_: {1: 0.004, 2: 0.002})
    before = torch.get_num_threads()
    file = tmp_path / "config.toml"
    file.write_text(config.to_toml(tiny_config(num_steps=3, num_threads="auto")))
    try:
        with caplog.at_level(logging.INFO):
            commands.fit(file, [], tmp_path / "run", "cpu")
    finally:
        torch.set_num_threads(before)
    assert "CPU threads: 2 (measured 1: 4.0 ms a step, 2: 2.0 ms a step)" in caplog.text
    assert "with cpu, 2 threads" in caplog.text
    assert runs.read_config(tmp_path / "run").training.num_threads == 2


def test_a_run_created_without_a_number_gets_one_when_it_is_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "measure", lambda *_: {1: 0.001})
    runs.create(tmp_path / "run", tiny_config(num_steps=3, num_threads="auto"))
    commands.resume(tmp_path / "run", "cpu")
    assert runs.read_config(tmp_path / "run").training.num_threads == 1
