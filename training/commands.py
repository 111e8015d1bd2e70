"""What `python -m training` does: each command wires the parts of one job together."""

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from models.manifest import Metric, TrainingRecord
from models.repository import Repository, StoredModel
from training import config as configuration
from training import runs, sweep_table, threads
from training import sweep as grid_of_runs
from training.data import SplitName, load
from training.devices import choose_device, describe
from training.errors import ConfigError, EvaluationError, NotStackable
from training.evaluation import Evaluation, EvaluationConfig, evaluate, read_record, write_record
from training.export import export
from training.gradient_plot import plot
from training.gradient_report import GradientReport, gradient_report
from training.ranks import ALONE, Ranks, joined
from training.report import report_page
from training.runs import TrainedRun
from training.schedules import value
from training.trainer import Trainer

logger = logging.getLogger(__name__)

_NUM_GOLDEN = 64
_NUM_PARITY = 256
_QUICK = EvaluationConfig(num_samples=5, importance_samples=())
"""For an export or report of a run that nobody evaluated yet: minutes at most, for a convolutional network too."""


def fit(
    config_file: Path | None,
    overrides: Sequence[str],
    folder: Path | None,
    device_name: str,
    ranks: Ranks = ALONE,
) -> tuple[Path, bool]:
    """Start a run; its folder, and whether it reached its last step or was asked to stop before.

    Several ranks start it together, each by this function.
    """
    config = configuration.read(config_file, overrides)
    if not config.sweep.is_empty:
        raise ConfigError("sweep: has seeds or learning_rates; `fit` trains one run, `sweep` trains a grid of them")
    folder = folder if folder is not None else Path("runs") / config.name
    ranks.share(config.training.batch_size)  # refuses what cannot be shared out, before anybody is waited for
    device = choose_device(device_name, ranks)
    with joined(ranks, device):
        with ranks.first_on_host():
            dataset = load(config.data)
        config = threads.settled(config, dataset, device=device, ranks=ranks)
        trainer = Trainer(config, dataset, folder, device=device, ranks=ranks)
        if ranks.is_first:
            runs.create(folder, config)
            runs.remember_data(folder, dataset)
        ranks.check_same(configuration=config, data=dataset.sha256())
        return folder, _train(trainer, dataset.protocol("train"), device, ranks)


def resume(folder: Path, device_name: str, ranks: Ranks = ALONE) -> tuple[Path, bool]:
    """Continue a run from its newest checkpoint, as it was configured; results as `fit`.

    Any number of ranks may, whatever the number that began it.
    """
    config = runs.read_config(folder)
    ranks.share(config.training.batch_size)
    device = choose_device(device_name, ranks)
    with joined(ranks, device):
        with ranks.first_on_host():
            dataset = load(config.data)
        if ranks.is_first:
            runs.remember_data(folder, dataset)
        if config.training.num_threads == "auto":
            # Written down, so that it will be the same after another interruption.
            config = threads.settled(config, dataset, device=device, ranks=ranks)
            if ranks.is_first:
                runs.write_config(folder, config)
        ranks.check_same(configuration=config, data=dataset.sha256())
        trainer = Trainer(config, dataset, folder, device=device, ranks=ranks)
        trainer.resume()
        return folder, _train(trainer, dataset.protocol("train"), device, ranks)


def sweep(
    config_file: Path | None, overrides: Sequence[str], folder: Path | None, device_name: str, num_processes: int | None
) -> tuple[str, Path, bool]:
    """Train every run of a configuration's grid, or finish: a table, its JSON, whether all steps are done.

    `num_processes` at a time on a CPU (None: one a core); all together on a GPU, or one after the other where that
    cannot be done.
    """
    if num_processes is not None and num_processes < 1:
        raise ConfigError(f"--processes: expected at least 1, got {num_processes}")
    config = configuration.read(config_file, overrides)
    configs = grid_of_runs.members(config)
    folder = folder if folder is not None else Path("runs") / config.name
    device = choose_device(device_name)
    dataset = load(config.data)
    folders = grid_of_runs.create(folder, configs)
    with _stop_on_signal() as stop:
        if device.type == "cpu":
            finished = grid_of_runs.train_in_processes(
                folders, num_processes=num_processes or threads.num_cores(), stop=stop
            )
        else:
            try:
                finished = grid_of_runs.train_together(configs, folders, dataset, device=device, stop=stop)
            except NotStackable as error:
                logger.warning("one run after the other: %s", error)
                finished = grid_of_runs.train_in_turn(configs, folders, dataset, device=device, stop=stop)
    outcomes = [sweep_table.outcome(each) for each in folders]
    path = folder / "sweep.json"
    _write(path, sweep_table.as_json(outcomes))
    return sweep_table.table(outcomes), path, finished


def evaluate_run(folder: Path, split: SplitName, config: EvaluationConfig, device_name: str) -> Evaluation:
    """Evaluate a run's newest checkpoint, and keep the metrics beside it for `export`."""
    run = runs.open_run(folder, device=choose_device(device_name))
    evaluation = _evaluate(run, split, config)
    write_record(_evaluation_file(folder, split), evaluation, step=run.step)
    return evaluation


def report_run(folder: Path, split: SplitName, device_name: str) -> Path:
    """Write the report of a run's newest checkpoint, `report.html` in its folder; the path of the file.

    Metrics that `evaluate` kept for this very checkpoint are used; otherwise the split is evaluated now, and kept.
    """
    run = runs.open_run(folder, device=choose_device(device_name))
    metrics = _kept_metrics(folder, split, run.step)
    if metrics is None:
        logger.info("no evaluation of step %d yet: a quick one of %s; `evaluate` measures more", run.step, split)
        evaluation = _evaluate(run, split, _QUICK)
        write_record(_evaluation_file(folder, split), evaluation, step=run.step)
        metrics = list(evaluation.metrics)
    path = folder / "report.html"
    _write(path, report_page(run, metrics, split=split))
    return path


def gradient_report_run(
    folder: Path,
    split: SplitName,
    *,
    checkpoints: Sequence[int],
    rows: int,
    num_draws: int,
    seed: int,
    device_name: str,
) -> tuple[GradientReport, Path]:
    """Hold every estimator that fits the run's model against the exact gradient at some checkpoints (none: all).

    Writes `gradient-report.json`, `.csv`, `.md` and `.svg` into the run's folder; the report, and the path of the
    first. Raises RunError when a checkpoint is not there, ConfigError when there are too many codes, EvaluationError
    when `rows` does not fit.
    """
    run = runs.open_run(folder, device=choose_device(device_name))
    inputs = run.dataset.evaluation_inputs(split)
    if not 1 <= rows <= len(inputs):
        raise EvaluationError(f"rows: expected 1 to {len(inputs)}, the rows of the {split} split, got {rows}")
    # Spread over the split: in some data sets the rows of a class stand together.
    chosen = torch.from_numpy(inputs[:: len(inputs) // rows][:rows])
    steps = list(checkpoints) or runs.checkpointed_steps(folder)
    report = gradient_report(
        runs.models_at(run, steps),
        chosen,
        num_draws=num_draws,
        seed=seed,
        protocol=f"{run.dataset.protocol(split)}, rows spread over the split",
    )
    path = folder / "gradient-report.json"
    _write(path, report.to_json())
    _write(path.with_suffix(".csv"), report.to_csv())
    _write(path.with_suffix(".md"), report.table())
    plot(report, path.with_suffix(".svg"))
    return report, path


def export_run(folder: Path, repository: Repository, name: str | None, description: str | None) -> StoredModel:
    """Publish a run's newest checkpoint as a model, with the metrics of its test split.

    Metrics that `evaluate` kept for this very checkpoint are used; otherwise the test split is evaluated now.
    """
    run = runs.open_run(folder, device=torch.device("cpu"))
    config = run.config
    metrics = _kept_metrics(folder, "test", run.step)
    if metrics is None:
        logger.info("no evaluation of step %d yet: a quick one of the test split; `evaluate` measures more", run.step)
        metrics = list(_evaluate(run, "test", _QUICK).metrics)
    inputs = run.dataset.evaluation_inputs("test")
    # Spread over the split: in some data sets the rows of a class stand together.
    spread = inputs[:: max(1, len(inputs) // (_NUM_GOLDEN + _NUM_PARITY))]
    return export(
        run.model,
        name=name if name is not None else config.name,
        description=description if description is not None else config.description,
        input=run.dataset.input,
        relaxation_temperature=value(config.relaxation_temperature, run.step - 1),
        estimator=config.estimator.name,
        metrics=metrics,
        training=TrainingRecord(
            data=run.dataset.provenance,
            config=configuration.to_dict(config),
            num_steps=run.step,
            duration_seconds=run.seconds,
            device=run.device,
        ),
        golden_inputs=spread[:: max(1, len(spread) // _NUM_GOLDEN)][:_NUM_GOLDEN],
        parity_inputs=spread[:_NUM_PARITY],
        usage_inputs=run.dataset.evaluation_inputs("valid"),
        repository=repository,
    )


def _train(trainer: Trainer, protocol: str, device: torch.device, ranks: Ranks) -> bool:
    times = "" if ranks.is_alone else f"{ranks.size} x "
    logger.info("training on %s, with %s%s", protocol, times, describe(device))
    with _stop_on_signal() as stop:
        return trainer.fit(stop)


def _evaluate(run: TrainedRun, split: SplitName, config: EvaluationConfig) -> Evaluation:
    inputs = torch.from_numpy(run.dataset.evaluation_inputs(split)).to(next(run.model.parameters()).device)
    return evaluate(
        run.model,
        inputs,
        # That of the last step, counted from 0.
        relaxation_temperature=value(run.config.relaxation_temperature, run.step - 1),
        protocol=run.dataset.protocol(split),
        split=split,
        config=config,
    )


def _write(path: Path, text: str) -> None:
    """In one rename, so that nobody meets half a file."""
    temporary = path.with_suffix(".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _evaluation_file(folder: Path, split: SplitName) -> Path:
    return folder / f"evaluation-{split}.json"


def _kept_metrics(folder: Path, split: SplitName, step: int) -> list[Metric] | None:
    record = read_record(_evaluation_file(folder, split))
    return list(record.metrics) if record is not None and record.step == step else None


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, once; a second signal acts as usual."""
    stop = threading.Event()
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in handled}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        logger.warning("stopping after this step; a checkpoint is saved")
        stop.set()
        restore()

    for number in handled:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()
