"""Options that several commands share."""

import io
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from models.repository import Repository
from service.datasets.code_sinks import SUFFIXES, CodeFileFormat
from service.settings import Device, Settings

API_KEY_VARIABLE = "LATENT_CODES_API_KEY"
URL_VARIABLE = "LATENT_CODES_URL"

STREAM = Path("-")
"""Standard input or output."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Where:
    """Where the work is done: at a service, or here with the models of some repositories."""

    url: str | None
    api_key: str | None
    repositories: tuple[Path, ...]
    """None given: those of the service's settings."""
    device: Device | None


def standard_input() -> io.BufferedIOBase:
    """Its bytes."""
    stream: object = sys.stdin.buffer
    assert isinstance(stream, io.BufferedIOBase)
    return stream


def where_options(command: Function) -> Function:
    """`--url`, `--repository` and `--device`, as the keyword arguments of `where`."""
    for option in (
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
            help="Without --url: what ONNX Runtime runs on. Default: as the service's settings say, auto.",
        ),
        click.option(
            "--repository",
            "repositories",
            type=click.Path(file_okay=False, exists=True, path_type=Path),
            multiple=True,
            help="Without --url: a folder of models; may be given several times. "
            "Default: as the service's settings say, ./model_repository and ./models/shipped.",
        ),
        click.option(
            "--url",
            envvar=URL_VARIABLE,
            show_envvar=True,
            help="A running service that does the work, say http://localhost:8000; without it ONNX Runtime does, here. "
            f"Its API key is read from {API_KEY_VARIABLE}.",
        ),
    ):
        command = option(command)
    return command


def where(url: str | None, repositories: tuple[Path, ...], device: Device | None) -> Where:
    """What the options say. Raises UsageError when they contradict each other."""
    if url is not None and (repositories or device is not None):
        raise click.UsageError("--repository and --device are for work done here; with --url the service does it")
    return Where(url, os.environ.get(API_KEY_VARIABLE), repositories, device)


@dataclass(frozen=True)
class ModelId:
    """A model that somebody named: `mnist-binary`, or with a version `mnist-binary@3`."""

    name: str
    version: int | None


class _ModelIdType(click.ParamType):  # type: ignore[type-arg]  # generic in some versions of click only
    name = "name[@version]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ModelId:
        if isinstance(value, ModelId):
            return value
        name, at, number = value.partition("@")
        if not name or (at and not (number.isascii() and number.isdecimal() and int(number))):
            self.fail(
                f"expected the name of a model, or name@version with a positive integer, got {value!r}", param, ctx
            )
        return ModelId(name, int(number) if at else None)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Models of the repositories on this machine; a service is not asked while somebody types."""
        roots = ctx.params.get("repositories") or Settings.from_environment().model_repositories
        names = {name for root in roots for name in Repository(Path(root)).names()}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def model_option(*, required: bool, help_text: str) -> Callable[[Function], Function]:
    """`--model`."""
    return click.option("--model", "-m", type=_ModelIdType(), required=required, help=help_text)


def drawn_seed(temperature: float, seed: int | None) -> int | None:
    """The seed given; one drawn where noise is and none was given. JSON of every language holds it exactly."""
    return secrets.randbelow(1 << 53) if seed is None and temperature > 0 else seed


def sampling_options(*, temperature: float, help_text: str) -> Callable[[Function], Function]:
    """`--temperature`, `--seed` and `--first-row`."""

    def add(command: Function) -> Function:
        for option in (
            click.option(
                "--first-row",
                type=click.IntRange(min=0),
                default=0,
                show_default=True,
                help="Number of the first row, for its noise, where these rows continue others.",
            ),
            click.option(
                "--seed", type=click.IntRange(min=0), help="The same seed, the same codes. Default: drawn, and told."
            ),
            click.option(
                "--temperature",
                "-t",
                type=click.FloatRange(min=0),
                default=temperature,
                show_default=True,
                help=f"How random codes are. {help_text}",
            ),
        ):
            command = option(command)
        return command

    return add


def code_output_options(command: Function) -> Function:
    """`--output` and `--format`, of codes."""
    for option in (
        click.option(
            "--format",
            "file_format",
            type=click.Choice(["parquet", "npy", "hex", "jsonl"]),
            help="Default: as the name of the output says; on standard output hex digits, a line a code.",
        ),
        click.option(
            "--output",
            "-o",
            type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
            default="-",
            help="A file: .parquet (which knows its model), .npy, .jsonl or .txt. Default: standard output.",
        ),
    ):
        command = option(command)
    return command


def format_of(output: Path, file_format: CodeFileFormat | None) -> CodeFileFormat:
    """The format asked for, or meant by the name of the file. Raises UsageError where neither says."""
    if file_format is None and output != STREAM:
        file_format = SUFFIXES.get(output.suffix.lower())
        if file_format is None:
            raise click.UsageError(
                f"--output: expected a name that ends in {', '.join(SUFFIXES)}, got {output}; or say --format"
            )
    file_format = file_format or "hex"
    if output == STREAM and file_format in ("parquet", "npy") and sys.stdout.isatty():
        raise click.UsageError(f"--format {file_format} is not for a terminal: name a file with --output, or a pipe")
    return file_format


quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="No progress and no summary. What was skipped is told all the same."
)
