"""`python -m training`: arguments only."""

import argparse
import logging
import sys
from pathlib import Path

from models.errors import ModelsError, cause_of
from models.repository import Repository
from training import commands
from training.errors import ConfigError, TrainingError
from training.evaluation import EvaluationConfig
from training.ranks import Ranks, launched_ranks

_EXAMPLES = """\
examples:
  python -m training fit                                        8x8 digits, in about a minute
  python -m training fit --config training/presets/mnist-binary.toml
  python -m training fit --set data.name=folder --set data.path=photos --set name=photos
  python -m training fit --resume --run runs/photos             after an interruption
  torchrun --nproc-per-node 4 -m -- training fit                on four GPUs, which share each batch
  python -m training sweep --set 'sweep.seeds=[0, 1, 2]' --set 'sweep.learning_rates=[3e-4, 1e-3]'
  python -m training evaluate runs/photos
  python -m training report runs/photos                         one HTML page: curves, pictures, numbers
  python -m training export runs/photos                         into ./model_repository, which `make serve` serves
"""

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code. What is wrong with the user's side is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    who = ""
    try:
        options.ranks = launched_ranks()
        who = "" if options.ranks.is_alone else f"rank {options.ranks.rank}: "
        level = logging.INFO if options.ranks.is_first else logging.WARNING
        logging.basicConfig(level=level, format=f"{who}%(message)s", stream=sys.stderr)
        _check_ranks(options.command, options.ranks)
        return int(options.run_command(options))
    except (TrainingError, ModelsError) as error:
        print(f"{who}{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        # A full disk, a folder that may not be written: whatever no part foresaw.
        print(f"{who}{error.filename or 'reading or writing'}: {cause_of(error)}", file=sys.stderr)
        return EXIT_FAILED


def _check_ranks(command: str, ranks: Ranks) -> None:
    """Raises ConfigError when several processes were started for what one does."""
    if command != "fit" and not ranks.is_alone:
        grid = "; a grid trains as processes of its own, or together on one GPU" if command == "sweep" else ""
        raise ConfigError(
            f"{command}: only `fit` is done by several processes, and torchrun started {ranks.size}; use "
            f"`python -m training {command}`{grid}"
        )


def _fit(options: argparse.Namespace) -> int:
    if options.resume:
        if options.run is None or options.config is not None or options.set:
            raise ConfigError("--resume continues a run as it was configured: give its --run, and no --config or --set")
        folder, finished = commands.resume(options.run, options.device, options.ranks)
    else:
        folder, finished = commands.fit(options.config, options.set, options.run, options.device, options.ranks)
    if not finished:
        if options.ranks.is_first:
            print(f"interrupted; continue with: python -m training fit --resume --run {folder}", file=sys.stderr)
        return EXIT_INTERRUPTED
    if options.ranks.is_first:
        print(
            f"trained: {folder}\nnext: python -m training evaluate {folder}\n      python -m training export {folder}"
        )
    return 0


def _sweep(options: argparse.Namespace) -> int:
    table, path, finished = commands.sweep(options.config, options.set, options.run, options.device, options.processes)
    print(f"{table}\nwritten: {path}; each run is a folder beside it")
    if not finished:
        print("interrupted; the same command continues", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    config = EvaluationConfig(
        num_samples=options.num_samples,
        importance_samples=tuple(options.importance_samples),
        exact=not options.no_exact,
        seed=options.seed,
    )
    print(commands.evaluate_run(options.run, options.split, config, options.device).table())
    return 0


def _report(options: argparse.Namespace) -> int:
    print(f"written: {commands.report_run(options.run, options.split, options.device)}")
    return 0


def _gradient_report(options: argparse.Namespace) -> int:
    report, path = commands.gradient_report_run(
        options.run,
        options.split,
        checkpoints=options.checkpoints,
        rows=options.rows,
        num_draws=options.num_draws,
        seed=options.seed,
        device_name=options.device,
    )
    print(f"{report.table()}\nwritten: {path}, and .csv, .md and .svg beside it")
    return 0


def _export(options: argparse.Namespace) -> int:
    model = commands.export_run(options.run, Repository(options.repository), options.name, options.description)
    print(f"exported: {model.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Learn discrete latent codes with a straight-through VAE, evaluate them, export them to be served.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", required=True, dest="command", metavar="COMMAND")

    fit = subparsers.add_parser("fit", help="train a model", description="Train a model: of 8x8 digits if not told.")
    fit.add_argument("--config", type=Path, help="TOML file with the configuration; training/presets has some")
    fit.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key, e.g. latent.num_latents=64"
    )
    fit.add_argument("--run", type=Path, help="folder of the run (default: runs/NAME, NAME from the configuration)")
    fit.add_argument("--resume", action="store_true", help="continue the run in --run from its newest checkpoint")
    _add_device(fit)
    fit.set_defaults(run_command=_fit)

    sweep = subparsers.add_parser(
        "sweep",
        help="train a grid of seeds and learning rates",
        description="Train every seed with every learning rate of the section [sweep], or continue; each becomes a run "
        "of its own. Together on a GPU, as processes on a CPU.",
    )
    sweep.add_argument("--config", type=Path, help="TOML file with the configuration and its grid")
    sweep.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    sweep.add_argument("--run", type=Path, help="folder of the runs (default: runs/NAME)")
    sweep.add_argument("--processes", type=int, metavar="N", help="on a CPU, runs at a time (default: one a core)")
    _add_device(sweep)
    sweep.set_defaults(run_command=_sweep)

    defaults = EvaluationConfig()
    evaluate = subparsers.add_parser(
        "evaluate",
        help="measure a trained model",
        description="Print relaxed and straight-through losses, bounds from discrete samples, the exact likelihood "
        "where codes are few, rates and code usage: each number with its protocol.",
    )
    _add_run_and_split(evaluate)
    evaluate.add_argument(
        "--num-samples", type=int, default=defaults.num_samples, help="codes a row for -ELBO (default %(default)s)"
    )
    evaluate.add_argument(
        "--importance-samples",
        "-m",
        type=int,
        nargs="*",
        default=list(defaults.importance_samples),
        metavar="M",
        help="samples of the importance-weighted bounds (default %(default)s)",
    )
    evaluate.add_argument(
        "--no-exact", action="store_true", help="do not sum over all codes, where there are at most 65,536"
    )
    evaluate.add_argument("--seed", type=int, default=defaults.seed)
    _add_device(evaluate)
    evaluate.set_defaults(run_command=_evaluate)

    report = subparsers.add_parser(
        "report",
        help="write a page about a run",
        description="Write report.html into the run's folder: curves, the evaluation (measured now if it was not yet), "
        "reconstructions, samples, traversals and code usage, in one file that needs no network.",
    )
    _add_run_and_split(report)
    _add_device(report)
    report.set_defaults(run_command=_report)

    gradients = subparsers.add_parser(
        "gradient-report",
        help="measure bias and variance of gradient estimators",
        description="Hold every estimator that fits the model against the exact gradient, at several checkpoints. For "
        "at most 65,536 codes.",
    )
    _add_run_and_split(gradients)
    gradients.add_argument(
        "--checkpoints",
        type=int,
        nargs="*",
        default=[],
        metavar="STEP",
        help="steps to measure at, 0 being before training (default: all there are; training.milestones keeps more)",
    )
    gradients.add_argument("--rows", type=int, default=10, help="rows of the split in a batch (default %(default)s)")
    gradients.add_argument(
        "--num-draws", type=int, default=2_000, help="draws of each estimator, a multiple of 20 (default %(default)s)"
    )
    gradients.add_argument("--seed", type=int, default=0)
    _add_device(gradients)
    gradients.set_defaults(run_command=_gradient_report)

    export = subparsers.add_parser(
        "export",
        help="write a trained model to a model repository",
        description="Write ONNX graphs and a manifest as the next version of the model, after checking that ONNX "
        "Runtime gives the codes that PyTorch gives.",
    )
    export.add_argument("run", type=Path, help="folder of the run")
    export.add_argument("--repository", type=Path, default=Path("model_repository"), help="default: %(default)s")
    export.add_argument("--name", help="name of the model (default: the name in the configuration)")
    export.add_argument("--description", help="default: the description in the configuration")
    export.set_defaults(run_command=_export)
    return parser


def _add_run_and_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--split", choices=["train", "valid", "test"], default="test")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes the GPU where there is one"
    )


if __name__ == "__main__":
    sys.exit(main())
