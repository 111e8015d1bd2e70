"""What a document tells its readers to run, read from its Markdown.

Every fenced block of `bash` or `python` is run by a test, in the order of the page. Comments, which readers do not see,
say what is special about the block below them:

    <!-- not run: REASON -->      a block that a test cannot run, and why not
    <!-- in the background -->    a command that starts the service and goes on; the test waits until it is ready
    <!-- numbers within 20 % -->  of a block of output: how far its numbers may be from those that are printed
    <!-- slow -->                 it trains: run where tests take long (`tests/end_to_end`)

A block of `text` or `json` that directly follows one that is run is what it prints (`document_output` compares them).
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RUN_LANGUAGES = ("bash", "python")
OUTPUT_LANGUAGES = ("text", "json")

_FENCE = re.compile(r"((?:^<!--.*?-->\n)*)^```([^\n`]*)\n(.*?)^```[ \t]*$\n?", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- *(.*?) *-->", re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page, and the output that is shown below it."""

    page: Path
    line: int
    language: str
    content: str
    comments: tuple[str, ...] = ()
    output: "Block | None" = None

    @property
    def is_command(self) -> bool:
        """Whether it is something to run."""
        return self.language in RUN_LANGUAGES

    @property
    def reason_not_to_run(self) -> str | None:
        """Why a test does not run it, or None."""
        reasons = [comment.removeprefix("not run:").strip() for comment in self.comments if comment[:8] == "not run:"]
        return reasons[0] if reasons else None

    @property
    def runs_in_background(self) -> bool:
        """Whether it goes on while the rest of the page is read."""
        return "in the background" in self.comments

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than a moment."""
        return "slow" in self.comments

    @property
    def tolerance(self) -> float | None:
        """How far its numbers may be off, as a part of each; None where they must be equal."""
        for comment in self.comments:
            if share := re.fullmatch(r"numbers within (\d+) ?%", comment):
                return int(share[1]) / 100
        return None

    def __str__(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{page}, line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page in order, output with the command that it belongs to."""
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    end = None
    for fence in _FENCE.finditer(text):
        comments = tuple(_COMMENT.findall(fence[1]))
        line = text.count("\n", 0, fence.end(1)) + 1
        block = Block(page, line, fence[2].strip(), fence[3], comments)
        previous = blocks[-1] if blocks else None
        is_next = end is not None and not text[end : fence.start()].strip()
        if (
            previous
            and is_next
            and previous.is_command
            and previous.output is None
            and block.language in OUTPUT_LANGUAGES
        ):
            blocks[-1] = previous._replace(output=block)
        else:
            blocks.append(block)
        end = fence.end()
    return blocks


def commands_of(page: Path) -> list[Block]:
    """The blocks of a page that are run."""
    return [block for block in blocks_of(page) if block.is_command and block.reason_not_to_run is None]
