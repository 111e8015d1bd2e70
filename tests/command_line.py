"""`latent-codes`, run to its end by a test."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from service.cli.program import main

ROOT = Path(__file__).parents[1]


class Finished(NamedTuple):
    """What a command left behind."""

    status: int
    out: bytes
    told: str
    """On standard error."""

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def environment(**changes: str) -> dict[str, str]:
    """This process's, without settings of the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LATENT_CODES_")}
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])} | changes


def latent_codes(*arguments: object, stdin: bytes = b"") -> Finished:
    """Run a command to its end within this process, which takes a hundredth of the time that a new one does."""
    streams = sys.stdin, sys.stdout, sys.stderr
    handler = signal.getsignal(signal.SIGTERM)
    out, told = io.BytesIO(), io.BytesIO()
    sys.stdin, sys.stdout, sys.stderr = (io.TextIOWrapper(stream, "utf-8") for stream in (io.BytesIO(stdin), out, told))
    try:
        status = main([str(argument) for argument in arguments])
        sys.stdout.flush()
        sys.stderr.flush()
        return Finished(int(status), out.getvalue(), told.getvalue().decode())
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        signal.signal(signal.SIGTERM, handler)


def latent_codes_process(*arguments: object, stdin: bytes = b"", cwd: Path | None = None, **changes: str) -> Finished:
    """Run a command to its end as its users do, in a process of its own."""
    finished = subprocess.run(
        command(*arguments), input=stdin, cwd=cwd, env=environment(**changes), capture_output=True, timeout=240
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr.decode())


def command(*arguments: object) -> Sequence[str]:
    """Its arguments, for a test that starts the process itself."""
    return [sys.executable, "-W", "error", "-m", "service.cli", *map(str, arguments)]
