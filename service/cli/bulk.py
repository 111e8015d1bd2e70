"""`latent-codes bulk`: datasets of any size, by as many workers as there are."""

from pathlib import Path
from typing import Literal

import click
from tqdm import tqdm

from service import bulk as jobs
from service.cli.exit_codes import ExitCode
from service.cli.local import stored_model
from service.cli.options import ModelId, model_option, quiet_option
from service.settings import Device

EPILOG = """\b
Examples:
  latent-codes bulk encode photos/ photos-codes/ -m mnist-binary --workers 2
  latent-codes bulk encode s3://bucket/rows s3://bucket/codes -m mnist-binary --address ray://head:10001 --workers 64
  latent-codes bulk decode photos-codes/ photos-decoded/ -m mnist-binary
"""


@click.command("bulk", epilog=EPILOG)
@click.argument("operation", type=click.Choice(["encode", "decode"]))
@click.argument("source")
@click.argument("destination")
@model_option(required=True, help_text="The model; without @version the highest.")
@click.option(
    "--temperature",
    "-t",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How random codes are. 0: the most probable ones; 1: exact samples of the posterior.",
)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, the same codes. Default: drawn, and kept.")
@click.option(
    "--column",
    default="inputs",
    show_default=True,
    help="Of Parquet: the column of numbers, of rows as bytes, or of bytes of images.",
)
@click.option(
    "--rows-per-part",
    type=click.IntRange(min=1),
    default=jobs.ROWS_PER_PART,
    show_default=True,
    help="Rows in one file of the destination, and what is done again when a worker dies.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Ray actors of a core each; 0: this process alone, without Ray.",
)
@click.option("--gpus-per-worker", type=click.FloatRange(min=0), default=0.0, help="GPUs that each worker reserves.")
@click.option("--address", help="A Ray cluster's, ray://host:port or auto. Default: Ray is started here.")
@click.option(
    "--repository",
    "repositories",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    multiple=True,
    help="A folder of models; may be given several times. Default: as the service's settings say.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    help="What ONNX Runtime runs on.",
)
@quiet_option
def bulk(
    operation: Literal["encode", "decode"],
    source: str,
    destination: str,
    model: ModelId,
    temperature: float,
    seed: int | None,
    column: str,
    rows_per_part: int,
    workers: int,
    gpus_per_worker: float,
    address: str | None,
    repositories: tuple[Path, ...],
    device: Device,
    quiet: bool,
) -> int:
    """Encode or decode SOURCE into the folder DESTINATION; both may be URIs, such as s3://bucket/rows.

    What cannot be done is told in DESTINATION/_errors.jsonl, and the exit status is 3. Started again, a job that was
    interrupted goes on where it was.
    """
    if workers == 0 and (gpus_per_worker or address is not None):
        raise click.UsageError("--gpus-per-worker and --address are for workers: say how many with --workers")
    with tqdm(unit="row", unit_scale=True, disable=True if quiet else None, leave=False) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        report = jobs.run(
            operation,
            source,
            destination,
            stored_model(repositories, model),
            temperature=temperature,
            seed=seed,
            column=column,
            rows_per_part=rows_per_part,
            num_workers=workers,
            gpus_per_worker=gpus_per_worker,
            address=address,
            device=device,
            on_progress=show,
        )
    if not quiet or report.num_bad:
        before = f", {report.num_parts_done_before} of them done before" if report.num_parts_done_before else ""
        bad = f"; {report.num_bad} rows or files could not be: see _errors.jsonl there" if report.num_bad else ""
        sentence = f"{operation}d {report.num_rows} rows in {report.num_parts} parts{before} to {destination}{bad}"
        click.echo(f"latent-codes: {sentence}", err=True)
    return ExitCode.SKIPPED if report.num_bad else ExitCode.DONE


commands = {"bulk": bulk}
