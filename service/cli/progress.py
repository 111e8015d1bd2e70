"""What is told on standard error: a bar while a person watches, what was skipped, and a summary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from tqdm import tqdm

from service.errors import FileRefused

_LISTED = 1000


class Progress:
    """Counts rows, and inputs that were passed over."""

    def __init__(self, bar: "tqdm[None]", *, quiet: bool) -> None:
        self._bar = bar
        self._quiet = quiet
        self.num_done = 0
        self.num_skipped = 0

    def expect(self, num_rows: Callable[[], int | None]) -> None:
        """How many rows there will be; asked only where it is shown, since counting may take a while."""
        if not self._bar.disable:
            self._bar.total = num_rows()

    def done(self, num_rows: int) -> None:
        self.num_done += num_rows
        self._bar.update(num_rows)

    def skipped(self, refusal: FileRefused) -> None:
        """Name an input that is passed over, with the cause; of very many, the first."""
        self.num_skipped += 1
        if self.num_skipped <= _LISTED:
            self._say(f"skipped {refusal}")
        elif self.num_skipped == _LISTED + 1:
            self._say("more are skipped than are listed")

    def summary(self, sentence: str) -> None:
        """What was done, and how many were not."""
        if not self._quiet:
            self._say(sentence + (f"; skipped {self.num_skipped}" if self.num_skipped else ""))

    def _say(self, sentence: str) -> None:
        with self._bar.external_write_mode():
            click.echo(f"latent-codes: {sentence}", err=True)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """A bar on standard error, where that is a terminal."""
    with tqdm(unit="row", unit_scale=True, disable=True if quiet else None, leave=False) as bar:
        yield Progress(bar, quiet=quiet)
