"""`latent-codes decode`: codes to outputs."""

import sys
from pathlib import Path

import click

from service.cli.backends import open_backend
from service.cli.options import STREAM, ModelId, model_option, quiet_option, standard_input, where, where_options
from service.cli.outputs import open_outputs, output_options
from service.cli.progress import progress
from service.datasets.code_sources import CodeSource, open_codes
from service.errors import FileRefused
from service.settings import Device

EPILOG = """\b
Examples:
  latent-codes decode codes.parquet -o outputs.npy                    the file knows its model
  latent-codes decode codes.parquet -o pictures/                      a PNG for each code
  latent-codes decode codes.parquet -o sheet.png                      all of them on one sheet
  echo 6d52ad1019970f0c | latent-codes decode -m mnist-binary -o seven.png
  latent-codes encode photos/ -m mnist-binary | latent-codes decode -m mnist-binary -o sheet.png
"""


@click.command("decode", epilog=EPILOG)
@click.argument("codes", type=click.Path(path_type=Path, allow_dash=True), default="-")
@model_option(required=False, help_text="The model that made the codes. A Parquet file of codes knows its own.")
@output_options
@click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows held in memory at a time; changes no output.",
)
@where_options
@quiet_option
def decode(
    codes: Path,
    model: ModelId | None,
    output: Path,
    batch_rows: int,
    url: str | None,
    repositories: tuple[Path, ...],
    device: Device | None,
    quiet: bool,
) -> int:
    """Decode CODES: a Parquet file of codes, .npy, lines of hex digits, or JSON lines. Default: a pipe, `-`.

    Codes of a Parquet file are decoded by the model that made them, and refused where it is not to be had.
    """
    source = open_codes(codes, stdin=standard_input())
    wanted = _wanted(model, source)
    with open_backend(where(url, repositories, device), wanted) as backend, progress(quiet=quiet) as told:
        facts = backend.model
        if source.provenance is not None:
            source.provenance.require_model(facts.name, facts.version, facts.manifest_sha256)
        told.expect(source.num_rows)
        with open_outputs(output, facts.input, stdout=sys.stdout.buffer) as sink:
            for rows in source.batches(batch_rows, facts.layout):
                sink.write(backend.decode(rows.codes), rows.ids)
                told.done(len(rows.codes))
            if not told.num_done:
                raise FileRefused(f"{source.name}: expected at least one code, there is none")
    if output != STREAM:
        told.summary(f"decoded {told.num_done} codes with {facts.name} version {facts.version} to {output}")
    return 0


def _wanted(model: ModelId | None, source: CodeSource) -> ModelId:
    """The model asked for; else, to its version, the one that the codes name."""
    made_by = source.provenance
    if model is None and made_by is None:
        raise click.UsageError("--model is needed: only a Parquet file of codes knows its model")
    if model is None or (made_by is not None and model == ModelId(made_by.model, None)):
        assert made_by is not None
        return ModelId(made_by.model, made_by.version)
    return model


commands = {"decode": decode}
