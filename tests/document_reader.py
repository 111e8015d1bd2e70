"""A reader who does what a document says, from its first block to its last."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from document_blocks import ROOT, Block
from document_output import assert_shown
from ports import ReservedPort
from service_process import START_SECONDS, STOP_SECONDS

ADDRESSES = ("localhost:8000", "127.0.0.1:8000")
"""Where documents say that the service is."""
COMMAND_SECONDS = 300


class Reader:
    """Runs the commands of one page, in a folder that looks like the clone of the repository in which readers work.

    What a block writes, the next ones find; names of Python stay from block to block; each block of bash is a shell of
    its own, which ends at the first command that fails. In place of the documents' address stands that of `port`, which
    is the service that the page starts, or else one that runs already.
    """

    def __init__(self, commands: Sequence[Block], folder: Path, *, port: int | None = None) -> None:
        self.commands = commands
        self._folder = folder
        self._reserved = ReservedPort() if port is None else None
        self._port = port if self._reserved is None else self._reserved.number
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._started: list[subprocess.Popen[bytes]] = []
        self._printed: dict[int, str] = {}
        for entry in ROOT.iterdir():
            if entry.name in _READ_ONLY:
                (folder / entry.name).symlink_to(entry)
        self._programs = folder / ".programs"
        _install_programs(self._programs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what the page has started."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._started:
            process.wait(STOP_SECONDS)
        if self._reserved is not None:
            self._reserved.close()

    def run(self, block: Block) -> str:
        """Run a block, after those above it that have not run yet, and compare what it printed with what is shown.

        Both streams of a command count as printed. Raises AssertionError when a command fails or prints something else.
        """
        for earlier in self.commands[: self.commands.index(block) + 1]:
            if earlier.line not in self._printed:
                printed = self._python(earlier) if earlier.language == "python" else self._bash(earlier)
                self._printed[earlier.line] = printed
        if block.output is not None:
            assert_shown(block.output, self._printed[block.line])
        return self._printed[block.line]

    def value(self, name: str) -> Any:
        """What the page's Python has given that name."""
        return self._names[name]

    def _here(self, content: str) -> str:
        for address in ADDRESSES:
            content = content.replace(address, f"127.0.0.1:{self._port}")
        return content

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        kept = {name: value for name, value in kept.items() if not name.startswith("LATENT_CODES_")}
        return kept | {
            "CUDA_VISIBLE_DEVICES": "",  # numbers that are shown were printed by a CPU
            "LATENT_CODES_PORT": str(self._port),
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(self._programs), str(Path(sys.executable).parent), kept["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        }

    def _bash(self, block: Block) -> str:
        command = ["bash", "-euo", "pipefail", "-c", self._here(block.content)]
        if block.runs_in_background:
            return self._start(command, block)
        process = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert process.returncode == 0, f"{block} ended with {process.returncode} and printed\n{process.stdout}"
        return process.stdout

    def _start(self, command: list[str], block: Block) -> str:
        log = self._folder / f"line-{block.line}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment(), stdout=stream, stderr=stream, start_new_session=True
            )
        self._started.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            in_time = process.poll() is None and time.monotonic() < deadline
            assert in_time, f"{block} started no service that became ready, and printed\n{log.read_text()}"
            time.sleep(0.05)
        return log.read_text()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/v2/health/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _python(self, block: Block) -> str:
        # The lines of the page, so that a traceback names them.
        source = "\n" * block.line + self._here(block.content)
        printed = io.StringIO()
        with contextlib.chdir(self._folder), contextlib.redirect_stdout(printed):
            exec(compile(source, block.page, "exec"), self._names)
        return printed.getvalue()


_READ_ONLY = {"benchmarks", "client", "docs", "models", "samples", "service", "training", "Makefile", "pyproject.toml"}
"""What of the clone a page may use. What it writes lies beside."""


def _install_programs(folder: Path) -> None:
    """The programs of the project, those of this tree whatever the environment has installed."""
    folder.mkdir()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, place in project.get("scripts", {}).items():
        module, function = place.split(":")
        program = folder / name
        program.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        program.chmod(0o755)
