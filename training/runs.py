"""A run on disk: its resolved configuration, its checkpoints, its log; and how to open it again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training import checkpoint, config
from training.config import RunConfig
from training.data import Dataset, load
from training.data.binarization import binarized
from training.errors import ConfigError, RunError
from training.likelihoods import BernoulliLikelihood, GreyCrossEntropy, Likelihood
from training.model import DiscreteVAE

CONFIG_FILE = "config.toml"
DATA_FILE = "data.json"
_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True)
class TrainedRun:
    """A run opened for evaluation or export: the model is in evaluation mode, at its newest checkpoint.

    `seconds` is the time it trained for, on `device`, in words.
    """

    folder: Path
    config: RunConfig
    dataset: Dataset
    model: DiscreteVAE
    step: int
    seconds: float
    device: str


def build_model(run: RunConfig, dataset: Dataset) -> DiscreteVAE:
    """The untrained model of a configuration, its weights drawn from the run's seed.

    Raises ConfigError, also when the data holds values that the likelihood gives no probability to.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        try:
            model = DiscreteVAE(
                run.latent,
                run.network,
                dataset.input.shape,
                torch.from_numpy(dataset.mean()),
                relaxation=run.relaxation.name,
                likelihood=run.likelihood,
                prior=run.prior,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
    _check_data(model.likelihood, dataset)
    return model


def start_from(model: DiscreteVAE, folder: Path) -> None:
    """Give the model the newest weights of the run in this folder.

    Raises RunError when there are none, or when they are those of another model.
    """
    read_config(folder)
    paths = checkpoint.checkpoints(folder)
    if not paths:
        raise RunError(f"training.start_from: {folder} has no checkpoint yet; train it first")
    newest = checkpoint.load(paths[-1], device=model.device)
    try:
        checkpoint.restore(model, newest, paths[-1])
    except RunError as error:
        raise RunError(
            f"training.start_from: {paths[-1]} holds the weights of another model; expected a run with the same "
            "latent, network, likelihood, prior and input shape"
        ) from error


def _check_data(likelihood: Likelihood, dataset: Dataset) -> None:
    """Raises ConfigError when a value of the data has no place in the likelihood."""
    if dataset.binarization != "none" or dataset.binary:
        return  # values of 0 and 1, which fit every likelihood
    if isinstance(likelihood, BernoulliLikelihood) and not isinstance(likelihood, GreyCrossEntropy):
        raise ConfigError(
            f"data.binarization: {dataset.title} has values between 0 and 1, which a Bernoulli likelihood gives no "
            'probability to; set data.binarization to "dynamic" or "threshold", or '
            'likelihood.name = "grey_cross_entropy", which is none and bounds nothing'
        )
    for name, split in dataset.splits.items():
        for start in range(0, len(split), _ROWS_AT_ONCE):
            rows = binarized(split.values[start : start + _ROWS_AT_ONCE], dataset.scale, "none")
            try:
                likelihood.check_inputs(torch.from_numpy(rows))
            except ValueError as error:
                raise ConfigError(
                    f'likelihood.name: "{likelihood.name}" does not fit {dataset.title} {name}, rows from {start}: '
                    f'{error}; "gaussian" takes any values'
                ) from error


def create(folder: Path, run: RunConfig) -> None:
    """Make the folder of a new run. Raises RunError when it holds a run already or cannot be written."""
    try:
        if (folder / CONFIG_FILE).exists():
            raise RunError(
                f"{folder} holds a run already: continue it with --resume, or choose another folder with --run"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, run)
    except OSError as error:
        raise RunError(f"cannot write to the run folder {folder}: {error.strerror}") from error


def write_config(folder: Path, run: RunConfig) -> None:
    """Keep the resolved configuration of a run, in one rename."""
    temporary = (folder / CONFIG_FILE).with_suffix(".partial")
    temporary.write_text(config.to_toml(run), encoding="utf-8")
    temporary.replace(folder / CONFIG_FILE)


def remember_data(folder: Path, dataset: Dataset) -> None:
    """Write down which rows a run is about to be trained on, or raise RunError when it was begun on others."""
    path = folder / DATA_FILE
    if path.exists():
        check_data(folder, dataset)
        return
    try:
        path.write_text(json.dumps({"title": dataset.title, "sha256": dataset.sha256()}, indent=1), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to the run folder {folder}: {error.strerror}") from error


def check_data(folder: Path, dataset: Dataset) -> None:
    """Raises RunError, naming the splits, when the rows are not those that the run was begun on."""
    path = folder / DATA_FILE
    try:
        begun_on = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        there = dataset.sha256()
        changed = [name for name, digest in there.items() if begun_on[name] != digest]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read as a run's record of its data; put it back, or remove it") from error
    if changed:
        raise RunError(
            f"{folder} was begun on other data: the rows of {', '.join(changed)} in {dataset.title} have changed "
            "since; give it the data of then, or start another run with --run"
        )


def read_config(folder: Path) -> RunConfig:
    """The resolved configuration of a run. Raises RunError when the folder is not one of a run."""
    if not (folder / CONFIG_FILE).is_file():
        raise RunError(
            f"{folder} is not the folder of a run: it has no {CONFIG_FILE}; `python -m training fit` makes one"
        )
    return config.read(folder / CONFIG_FILE)


def open_run(folder: Path, *, device: torch.device) -> TrainedRun:
    """Open a run at its newest checkpoint, loading its data again.

    Raises RunError when there is no checkpoint, and when the data has changed since the run began.
    """
    run = read_config(folder)
    paths = checkpoint.checkpoints(folder)
    if not paths:
        raise RunError(
            f"{folder} has no checkpoint yet: train it with `python -m training fit --resume --run {folder}`"
        )
    newest = checkpoint.load(paths[-1], device=device)
    dataset = load(run.data)
    check_data(folder, dataset)
    model = build_model(run, dataset).to(device)
    checkpoint.restore(model, newest, paths[-1])
    model.eval()
    return TrainedRun(folder, run, dataset, model, newest.step, newest.seconds, newest.device)


def checkpointed_steps(folder: Path) -> list[int]:
    """Steps at which the run's model can be had: 0, before training, and those of its checkpoints."""
    return sorted({0, *(checkpoint.step_of(path) for path in checkpoint.checkpoints(folder))})


def models_at(run: TrainedRun, steps: Sequence[int]) -> Iterator[tuple[int, DiscreteVAE]]:
    """The run's model as it was after each of these steps, in evaluation mode, on the device of `run.model`.

    One at a time: each step is given with a model of its own. Raises RunError, before the first, when there is no
    checkpoint of a step; `training.milestones` keeps them.
    """
    there = checkpointed_steps(run.folder)
    missing = [step for step in steps if step not in there]
    if missing:
        raise RunError(
            f"{run.folder} has no checkpoint of step {', '.join(map(str, missing))}: expected steps among "
            f"{', '.join(map(str, there))}; training.milestones lists the steps to keep"
        )
    return _models_at(run, steps)


def _models_at(run: TrainedRun, steps: Sequence[int]) -> Iterator[tuple[int, DiscreteVAE]]:
    paths = {checkpoint.step_of(path): path for path in checkpoint.checkpoints(run.folder)}
    for step in steps:
        model = build_model(run.config, run.dataset).to(run.model.device)
        if step in paths:
            checkpoint.restore(model, checkpoint.load(paths[step], device=run.model.device), paths[step])
        yield step, model.eval()
