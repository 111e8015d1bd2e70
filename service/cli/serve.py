"""`latent-codes serve`: `python -m service`, with the commonest settings as options."""

import os
import sys
from pathlib import Path

import click

from service.cli.options import API_KEY_VARIABLE, URL_VARIABLE
from service.settings import PREFIX

EPILOG = """\b
Examples:
  latent-codes serve
  latent-codes serve --host 0.0.0.0 --port 9000 --repository model_repository
  LATENT_CODES_ACCESS_LOG=true latent-codes serve

\b
Every setting is an environment variable: docs/settings.md lists them. An option goes before its variable.
"""


@click.command("serve", epilog=EPILOG)
@click.option("--host", help="Address to listen on; 0.0.0.0 for every interface. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: 8000.")
@click.option(
    "--repository",
    "repositories",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A folder of models; may be given several times. Default: ./model_repository and ./models/shipped.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]), help="Default: auto.")
def serve(host: str | None, port: int | None, repositories: tuple[Path, ...], device: str | None) -> None:
    """Serve models over HTTP, until told to stop."""
    given = {
        "HOST": host,
        "PORT": None if port is None else str(port),
        "MODEL_REPOSITORIES": os.pathsep.join(map(str, repositories)) or None,
        "DEVICE": device,
    }
    # Those are for whoever asks a service.
    inherited = {name: value for name, value in os.environ.items() if name not in (API_KEY_VARIABLE, URL_VARIABLE)}
    settings = {f"{PREFIX}{name}": value for name, value in given.items() if value is not None}
    # In place of this process, so that signals reach the service itself.
    os.execve(sys.executable, [sys.executable, "-m", "service"], inherited | settings)  # noqa: S606


commands = {"serve": serve}
