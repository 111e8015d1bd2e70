"""A run on disk: its resolved configuration, its checkpoints, its log; and how to open it again."""

from dataclasses import dataclass
from pathlib import Path

import torch

from training import checkpoint, config
from training.config import RunConfig
from training.data import Dataset, load
from training.errors import ConfigError, RunError
from training.model import DiscreteVAE

CONFIG_FILE = "config.toml"


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
    """The untrained model of a configuration, its weights drawn from the run's seed. Raises ConfigError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        try:
            return DiscreteVAE(
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


def create(folder: Path, run: RunConfig) -> None:
    """Make the folder of a new run. Raises RunError when it holds a run already or cannot be written."""
    try:
        if (folder / CONFIG_FILE).exists():
            raise RunError(
                f"{folder} holds a run already: continue it with --resume, or choose another folder with --run"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(config.to_toml(run), encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write to the run folder {folder}: {error.strerror}") from error


def read_config(folder: Path) -> RunConfig:
    """The resolved configuration of a run. Raises RunError when the folder is not one of a run."""
    if not (folder / CONFIG_FILE).is_file():
        raise RunError(
            f"{folder} is not the folder of a run: it has no {CONFIG_FILE}; `python -m training fit` makes one"
        )
    return config.read(folder / CONFIG_FILE)


def open_run(folder: Path, *, device: torch.device) -> TrainedRun:
    """Open a run at its newest checkpoint, loading its data again. Raises RunError when there is no checkpoint."""
    run = read_config(folder)
    paths = checkpoint.checkpoints(folder)
    if not paths:
        raise RunError(
            f"{folder} has no checkpoint yet: train it with `python -m training fit --resume --run {folder}`"
        )
    newest = checkpoint.load(paths[-1], device=device)
    dataset = load(run.data)
    model = build_model(run, dataset).to(device)
    checkpoint.restore(model, newest, paths[-1])
    model.eval()
    return TrainedRun(folder, run, dataset, model, newest.step, newest.seconds, newest.device)
