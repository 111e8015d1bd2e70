import json
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.runlog import METRICS_FILE, RunLog, read_metrics


def tensorboard(folder):
    """Values by tag and step, as TensorBoard would show them."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def write(folder, values, *, step=0):
    if (folder / "tensorboard").exists():
        # TensorBoard orders files by name: by the second, and then by a counter of the process, as text.
        time.sleep(1.1)
    with RunLog(folder, step=step) as log:
        for at, value in values.items():
            log.scalars(at, {"train/loss": value})


def test_what_is_logged_is_read_back_exactly_and_shown_by_tensorboard(tmp_path):
    with RunLog(tmp_path) as log:
        log.scalars(1, {"train/loss": 0.1, "rate": 1e-300})
        log.scalars(2, {"valid/loss": 2.5})
    assert read_metrics(tmp_path) == [
        {"step": 1, "train/loss": 0.1, "rate": 1e-300},
        {"step": 2, "valid/loss": 2.5},
    ]
    shown = tensorboard(tmp_path)
    assert shown["train/loss"] == {1: pytest.approx(0.1)}
    assert shown["valid/loss"] == {2: 2.5}


def test_a_line_can_be_read_as_soon_as_it_is_logged(tmp_path):
    with RunLog(tmp_path) as log:
        log.scalars(1, {"loss": 1.0})
        assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]


def test_a_continued_log_drops_what_will_be_logged_again(tmp_path):
    write(tmp_path, {1: 1.0, 2: 2.0, 3: 3.0})
    write(tmp_path, {3: 30.0, 4: 40.0}, step=2)
    assert [(record["step"], record["train/loss"]) for record in read_metrics(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
        (4, 40.0),
    ]
    assert tensorboard(tmp_path)["train/loss"] == {1: 1.0, 2: 2.0, 3: 30.0, 4: 40.0}


def test_a_log_begun_anew_drops_everything(tmp_path):
    write(tmp_path, {1: 1.0, 2: 2.0})
    write(tmp_path, {1: 10.0})
    assert [record["train/loss"] for record in read_metrics(tmp_path)] == [10.0]
    assert tensorboard(tmp_path)["train/loss"] == {1: 10.0}


def test_a_last_line_that_was_cut_short_is_left_out_and_written_over(tmp_path):
    write(tmp_path, {1: 1.0, 2: 2.0})
    path = tmp_path / METRICS_FILE
    path.write_text(path.read_text()[:-5])
    assert [record["step"] for record in read_metrics(tmp_path)] == [1]
    write(tmp_path, {2: 20.0}, step=1)
    assert [json.loads(line)["train/loss"] for line in path.read_text().splitlines()] == [1.0, 20.0]


def test_continuing_leaves_the_whole_log_in_place_until_the_new_one_is_complete(tmp_path):
    write(tmp_path, {1: 1.0, 2: 2.0})
    content = (tmp_path / METRICS_FILE).read_text()
    # The name of what would be written first is taken, so continuing stops half way.
    (tmp_path / METRICS_FILE).with_suffix(".partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        RunLog(tmp_path, step=2)
    assert (tmp_path / METRICS_FILE).read_text() == content


def test_a_folder_without_a_log_has_no_records(tmp_path):
    assert read_metrics(tmp_path) == []
