"""`latent-codes generate`: codes drawn from a model's prior, and what they decode to."""

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from service.cli.backends import open_backend
from service.cli.options import (
    STREAM,
    ModelId,
    code_output_options,
    drawn_seed,
    format_of,
    model_option,
    quiet_option,
    sampling_options,
    where,
    where_options,
)
from service.cli.outputs import open_outputs
from service.cli.progress import progress
from service.datasets.code_sinks import CodeFileFormat, open_sink
from service.settings import Device

EPILOG = """\b
Examples:
  latent-codes generate -m mnist-binary -n 64 --outputs sheet.png --seed 7
  latent-codes generate -m mnist-binary -n 1000 -o codes.parquet --outputs samples.npy
  latent-codes generate -m mnist-categorical                           one code, in hex digits
"""
_ROWS = 1024


@click.command("generate", epilog=EPILOG)
@model_option(required=True, help_text="The model; without @version the highest.")
@click.option("--number", "-n", type=click.IntRange(min=1), default=1, show_default=True, help="How many codes.")
@code_output_options
@click.option(
    "--outputs",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Where their outputs go: .npy, a sheet .png, or a folder of PNGs. Default: nowhere.",
)
@sampling_options(temperature=1.0, help_text="1: exact samples of the prior; 0: its most probable code.")
@where_options
@quiet_option
def generate(
    model: ModelId,
    number: int,
    output: Path,
    file_format: CodeFileFormat | None,
    outputs: Path | None,
    temperature: float,
    seed: int | None,
    first_row: int,
    url: str | None,
    repositories: tuple[Path, ...],
    device: Device | None,
    quiet: bool,
) -> int:
    """Draw codes from the prior of a model. They go where --output says, what they decode to where --outputs does."""
    if output == STREAM == outputs:
        raise click.UsageError("codes and outputs cannot both go to standard output")
    written_as = format_of(output, file_format)
    seed = drawn_seed(temperature, seed)
    with (
        open_backend(where(url, repositories, device), model) as backend,
        progress(quiet=quiet) as told,
        ExitStack() as stack,
    ):
        facts = backend.model
        provenance = facts.provenance(temperature=temperature, seed=seed, first_row=first_row)
        to = None if output == STREAM else output
        codes_to = stack.enter_context(open_sink(to, written_as, provenance, has_ids=False, stdout=sys.stdout.buffer))
        outputs_to = None
        if outputs is not None:
            outputs_to = stack.enter_context(open_outputs(outputs, facts.input, stdout=sys.stdout.buffer))
        told.expect(lambda: number)
        for first in range(0, number, _ROWS):
            drawn = backend.generate(
                min(_ROWS, number - first), temperature=temperature, seed=seed, first_row=first_row + first
            )
            codes_to.write(drawn.codes, None)
            if outputs_to is not None:
                outputs_to.write(drawn.outputs, None)
            told.done(len(drawn.codes))
    if to is not None:
        drawn_with = f", seed {provenance.seed}" if provenance.seed is not None else ""
        told.summary(f"drew {number} codes from {facts.name} version {facts.version}{drawn_with} to {to}")
    return 0


commands = {"generate": generate}
