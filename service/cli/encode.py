"""`latent-codes encode`: inputs to codes."""

import re
import sys
from pathlib import Path

import click

from models.codefile import Provenance
from service import row_bytes
from service.cli.backends import Backend, open_backend
from service.cli.exit_codes import ExitCode
from service.cli.images import input_reader
from service.cli.options import (
    STREAM,
    ModelId,
    code_output_options,
    drawn_seed,
    format_of,
    model_option,
    quiet_option,
    sampling_options,
    standard_input,
    where,
    where_options,
)
from service.cli.progress import Progress, progress
from service.datasets.code_sinks import CodeFileFormat, CodeSink, open_sink
from service.datasets.inputs import open_inputs
from service.datasets.rows import RowSource
from service.errors import FileRefused, InvalidFields
from service.settings import Device

EPILOG = """\b
Examples:
  latent-codes encode photos/ -m mnist-binary -o codes.parquet      the path of each image beside its code
  latent-codes encode inputs.npy -m mnist-binary -o codes.npy       integers, [rows, latents]
  latent-codes encode seven.png -m mnist-binary                     hex digits on standard output
  cat seven.png | latent-codes encode -m mnist-binary --format jsonl
  latent-codes encode inputs.npy -m mnist-binary -t 1 --seed 7 --url http://localhost:8000
"""


@click.command("encode", epilog=EPILOG)
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@model_option(required=True, help_text="The model; without @version the highest.")
@code_output_options
@sampling_options(temperature=0.0, help_text="0: the most probable codes; 1: exact samples of the posterior.")
@click.option("--column", help="Of a Parquet file: the column of inputs, where several could be it.")
@click.option(
    "--id-column", help='Of a Parquet file: the column that names the rows. Default: "id", where it is there.'
)
@click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows held in memory at a time; changes no code.",
)
@where_options
@quiet_option
def encode(
    inputs: tuple[Path, ...],
    model: ModelId,
    output: Path,
    file_format: CodeFileFormat | None,
    temperature: float,
    seed: int | None,
    first_row: int,
    column: str | None,
    id_column: str | None,
    batch_rows: int,
    url: str | None,
    repositories: tuple[Path, ...],
    device: Device | None,
    quiet: bool,
) -> int:
    """Encode INPUTS: images and folders of them, or one file of rows: .npy, Parquet, JSON lines. Default: a pipe, `-`.

    An image that cannot be read is named and skipped; the others are encoded, and the exit status is 3.
    """
    written_as = format_of(output, file_format)
    seed = drawn_seed(temperature, seed)
    with open_backend(where(url, repositories, device), model) as backend, progress(quiet=quiet) as told:
        source = open_inputs(
            list(inputs) or [STREAM],
            stdin=standard_input(),
            to_input=input_reader(backend.model),
            to_rows=lambda content: row_bytes.read(content, backend.model.input),
            on_refused=told.skipped,
            column=column,
            id_column=id_column,
        )
        told.expect(source.num_rows)
        provenance = backend.model.provenance(temperature=temperature, seed=seed, first_row=first_row)
        to = None if output == STREAM else output
        with open_sink(to, written_as, provenance, has_ids=source.has_ids, stdout=sys.stdout.buffer) as sink:
            _encode(source, backend, provenance, sink, told, batch_rows)
            if not told.num_done:
                raise FileRefused(f"{source.name}: nothing could be encoded")
    if to is not None or told.num_skipped:
        told.summary(f"encoded {told.num_done} rows with {_said(provenance)}" + (f" to {to}" if to else ""))
    return ExitCode.SKIPPED if told.num_skipped else ExitCode.DONE


def _encode(
    source: RowSource, backend: Backend, provenance: Provenance, sink: CodeSink, told: Progress, batch_rows: int
) -> None:
    for rows in source.batches(batch_rows):
        try:
            codes = backend.encode(
                rows.inputs,
                temperature=provenance.temperature,
                seed=provenance.seed,
                first_row=provenance.first_row + told.num_done,
            )
        except InvalidFields as error:
            raise FileRefused(f"{source.name}: {_placed(error, told.num_done, rows.ids)}") from error
        sink.write(codes, rows.ids)
        told.done(len(rows.inputs))


def _placed(error: InvalidFields, first: int, ids: list[str] | None) -> str:
    """What does not fit, with the row counted from the beginning of the source, and its name where it has one."""
    found = error.errors[0]
    place = re.fullmatch(r"inputs\[(\d+)\](.*)", found.field)
    at = found.field
    if place is not None:
        row = int(place[1])
        at = (
            f"row {first + row}"
            + (f" ({ids[row]})" if ids is not None else "")
            + (f" at {place[2]}" if place[2] else "")
        )
    return f"{at}: expected {found.expected}, got {found.received}"


def _said(provenance: Provenance) -> str:
    drawn = f", temperature {provenance.temperature:g}, seed {provenance.seed}" if provenance.seed is not None else ""
    return f"{provenance.model} version {provenance.version}{drawn}"


commands = {"encode": encode}
