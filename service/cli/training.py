"""`latent-codes train`, `evaluate`, ...: `python -m training`, in place of this process.

The service knows nothing of training, which may not even be installed: all is passed through, `--help` too.
"""

import os
import sys
from importlib.util import find_spec

import click

from service.errors import PackageMissing

PASSED_TO = {
    "train": "fit",
    "sweep": "sweep",
    "evaluate": "evaluate",
    "report": "report",
    "gradient-report": "gradient-report",
    "export": "export",
}
"""What each is called by `python -m training`."""


def _passed_through(name: str) -> click.Command:
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}

    @click.command(name, context_settings=settings, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        for package in ("training", "torch"):
            if find_spec(package) is None:
                raise PackageMissing(
                    f"{name} needs the package {package}: install the project with its extra train, "
                    "pip install 'latent-codes[train,cpu]'"
                )
        os.execv(sys.executable, [sys.executable, "-m", "training", PASSED_TO[name], *arguments])  # noqa: S606 - no shell is wanted

    return command


commands = {name: _passed_through(name) for name in PASSED_TO}
