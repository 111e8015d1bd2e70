"""A step recorded once as a CUDA graph and replayed: one launch in place of a hundred.

The first steps are taken as they are, since kernels are chosen, memory is reserved and the optimiser's state is made
the first time; they count like any other. Then the step is recorded, which computes nothing, and from then on replayed.
The generators are registered with the graph, so that each replay draws noise of its own, and the very noise that the
step would have drawn.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch

logger = logging.getLogger(__name__)

NUM_WARM_UP_STEPS = 3


@runtime_checkable
class Step(Protocol):
    """What can be recorded: `training.step.StepProgram`, and the like for many runs."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """All that it draws from."""
        ...

    def __call__(self) -> None:
        """Take one step; a function of tensors that stay in their place."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """How a step is recorded on some device."""

    def warm_up(self, step: Step) -> None:
        """Take one step where it may later be recorded."""
        ...

    def record(self, step: Step) -> Callable[[], None]:
        """What takes one step when it is called; no step is taken now. Raises RuntimeError where it cannot be done."""
        ...


class CudaGraphRecorder:
    """Records on a stream of its own, as CUDA demands."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, step: Step) -> None:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # That an optimiser made to be recorded is not yet recorded.
            warnings.filterwarnings("ignore", message=r".*capturable", category=UserWarning)
            step()
        current.wait_stream(self._stream)

    def record(self, step: Step) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        for generator in step.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            step()
        return graph.replay


class RecordedStep:
    """A step that is called a few times, then recorded and replayed; called for ever where recording fails."""

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step = step
        self._recorder = recorder
        self._num_warm = 0
        self._take: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self._take is not None:
            self._take()
        elif self._num_warm < NUM_WARM_UP_STEPS:
            self._recorder.warm_up(self._step)
            self._num_warm += 1
        else:
            self._take = self._recorded()
            self._take()

    def _recorded(self) -> Callable[[], None]:
        try:
            take = self._recorder.record(self._step)
        except RuntimeError as error:
            # Which operations can be recorded is CUDA's to say, and an estimator or a network may hold one that cannot.
            logger.warning("steps run eagerly: they cannot be recorded (%s)", str(error).splitlines()[0])
            return self._step
        logger.info("steps are replayed from one CUDA graph")
        return take


def why_not_recorded(device: torch.device, *, wanted: bool, obstacle: str | None = None) -> str | None:
    """Why steps are to run eagerly, in words; None when they are to be recorded.

    `obstacle` says what in the step cannot be recorded, if anything.
    """
    if not wanted:
        return "training.record is false"
    if device.type != "cuda":
        return f"there are no CUDA graphs on the {device.type.upper()}"
    return obstacle


def recorded(step: Step, device: torch.device, *, reason: str | None) -> Callable[[], None]:
    """The step, recorded unless there is a `reason` to run it eagerly, which is logged."""
    if reason is None:
        return RecordedStep(step, CudaGraphRecorder(device))
    logger.info("steps run eagerly: %s", reason)
    return step
