"""The table of commands, and what becomes of errors."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import click

from service.cli.exit_codes import EXPECTED_ERRORS, ExitCode, exit_code_of, sentence_of
from service.errors import PackageMissing

NAME = "latent-codes"
COMPLETION_VARIABLE = "_LATENT_CODES_COMPLETE"


class Entry(NamedTuple):
    """A command: the module that has it as `command`, and what the list of commands says of it."""

    module: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Codes": {
        "encode": Entry("service.cli.encode", "Inputs to codes: images, folders of them, .npy, Parquet, JSON lines."),
        "decode": Entry("service.cli.decode", "Codes to outputs."),
        "generate": Entry("service.cli.generate", "Draw codes from a model's prior, and decode them."),
        "bulk": Entry("service.cli.bulk", "Datasets of any size to codes and back, by many workers."),
        "models": Entry("service.cli.models", "Which models there are."),
    },
    "Service": {
        "serve": Entry("service.cli.serve", "Serve models over HTTP."),
    },
    "Training": {
        "train": Entry("service.cli.training", "Train a model on your own data."),
        "sweep": Entry("service.cli.training", "Train a grid of seeds and learning rates."),
        "evaluate": Entry("service.cli.training", "Measure a trained model."),
        "report": Entry("service.cli.training", "Write a page about a run."),
        "gradient-report": Entry("service.cli.training", "Measure bias and variance of gradient estimators."),
        "export": Entry("service.cli.training", "Write a trained model to a model repository."),
    },
    "Shell": {
        "completion": Entry("service.cli.completion", "A script that completes commands in your shell."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class ReaderGone(Exception):
    """Whoever read standard output has closed it."""


class Program(click.Group):
    """Imports a command when it is asked for, and lists all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        try:
            module = importlib.import_module(entry.module)
        except ModuleNotFoundError as error:
            raise PackageMissing(
                f"{cmd_name} needs the package {error.name}: install the project with its extra cli, "
                "pip install 'latent-codes[cli]'"
            ) from error
        commands: dict[str, click.Command] = module.commands
        return commands[cmd_name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in section.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click would end with 1.
            raise ReaderGone from error


EPILOG = """\b
Examples:
  latent-codes encode photos/ --model mnist-binary --output codes.parquet
  latent-codes decode codes.parquet --output reconstructions.npy
  latent-codes serve --port 8000
  latent-codes train --set data.name=folder --set data.path=photos --set name=photos

\b
Each command has examples too: latent-codes encode --help
"""


@click.command(NAME, cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("latent-codes"), prog_name=NAME)
def program() -> None:
    """Inputs to short discrete codes and back; and the training and serving of the models that do it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status. What is wrong with the user's side is one sentence on standard error."""
    # As Ctrl-C does: what was being written is cleaned up on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))
    try:
        status = program.main(
            args=None if arguments is None else list(arguments),
            prog_name=NAME,
            complete_var=COMPLETION_VARIABLE,
            standalone_mode=False,
        )
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        # Python flushes at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.READER_GONE
    except EXPECTED_ERRORS as error:
        click.echo(f"{NAME}: {sentence_of(error)}", err=True)
        return exit_code_of(error)
    return status if isinstance(status, int) else ExitCode.DONE
