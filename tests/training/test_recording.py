import pytest
import torch
from tiny_runs import CPU, digits, tiny_config

from training.recording import NUM_WARM_UP_STEPS, RecordedStep, recorded, why_not_recorded
from training.trainer import Trainer

CUDA = torch.device("cuda")


class Counted:
    """A step that counts how often it was really taken."""

    generators = ()

    def __init__(self):
        self.taken = 0

    def __call__(self):
        self.taken += 1


class CallingRecorder:
    """Replays by calling: what a recording would be on a device without graphs."""

    def __init__(self, error=None):
        self.error = error
        self.events = []

    def warm_up(self, step):
        self.events.append("warm up")
        step()

    def record(self, step):
        self.events.append("record")
        if self.error is not None:
            raise self.error

        def replay():
            self.events.append("replay")
            step()

        return replay


def test_the_first_steps_count_then_the_step_is_recorded_once_and_replayed():
    step, recorder = Counted(), CallingRecorder()
    take = RecordedStep(step, recorder)
    for number in range(1, 8):
        take()
        assert step.taken == number
    assert recorder.events == ["warm up"] * NUM_WARM_UP_STEPS + ["record"] + ["replay"] * (7 - NUM_WARM_UP_STEPS)


def test_a_step_that_cannot_be_recorded_is_called_and_one_line_says_why(caplog):
    step = Counted()
    take = RecordedStep(step, CallingRecorder(RuntimeError("operation not permitted when stream is capturing\nmore")))
    for number in range(1, 8):
        take()
        assert step.taken == number
    (line,) = [record.getMessage() for record in caplog.records if "eagerly" in record.getMessage()]
    assert line == ("steps run eagerly: they cannot be recorded (operation not permitted when stream is capturing)")


def test_what_is_no_error_of_recording_is_not_swallowed():
    take = RecordedStep(Counted(), CallingRecorder(KeyError("a bug")))
    for _ in range(NUM_WARM_UP_STEPS):
        take()
    with pytest.raises(KeyError):
        take()


@pytest.mark.parametrize(
    ("device", "wanted", "obstacle", "reason"),
    [
        (CUDA, True, None, None),
        (CUDA, False, None, "training.record is false"),
        (CPU, True, None, "there are no CUDA graphs on the CPU"),
        (CUDA, True, "the batch comes from the host", "the batch comes from the host"),
    ],
)
def test_a_step_is_recorded_unless_something_stands_against_it(device, wanted, obstacle, reason):
    assert why_not_recorded(device, wanted=wanted, obstacle=obstacle) == reason


def test_a_reason_is_logged_in_one_line_and_the_step_is_the_step(caplog):
    step = Counted()
    with caplog.at_level("INFO"):
        assert recorded(step, CPU, reason="it is Monday") is step
    assert [record.getMessage() for record in caplog.records] == ["steps run eagerly: it is Monday"]


def test_a_run_on_the_cpu_says_that_it_runs_eagerly(tmp_path, caplog):
    with caplog.at_level("INFO"):
        Trainer(tiny_config(), digits(), tmp_path, device=CPU)
    assert "steps run eagerly: there are no CUDA graphs on the CPU" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_recorded_run_on_a_gpu_gives_the_numbers_of_an_eager_one(tmp_path):
    results = []
    for record in (True, False):
        trainer = Trainer(tiny_config(record=record), digits(), tmp_path, device=CUDA)
        for step in range(60):
            trainer._program.prepare(step)
            trainer._take_step()
        results.append({name: values.cpu() for name, values in trainer.model.state_dict().items()})
    for name, expected in results[1].items():
        torch.testing.assert_close(results[0][name], expected, rtol=1e-4, atol=1e-5)
