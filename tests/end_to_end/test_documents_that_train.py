"""Documents that train a model, and go on from there: run as they are written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from document_blocks import ROOT, Block, blocks_of, commands_of
from document_reader import Reader

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Of the tutorial, which starts its own service."""
    with Reader(commands_of(TUTORIAL), tmp_path_factory.mktemp("clone")) as reader:
        yield reader


@pytest.mark.parametrize("block", commands_of(TUTORIAL), ids=str)
def test_a_block_of_the_tutorial_runs_and_prints_what_is_shown(block: Block, reader: Reader) -> None:
    reader.run(block)


def test_the_tutorial_leaves_nothing_out_but_the_environment() -> None:
    left_out = [block for block in blocks_of(TUTORIAL) if block.reason_not_to_run is not None]
    assert [block.content.splitlines()[0] for block in left_out] == ["make train-env"]


def test_the_readme_trains_evaluates_and_exports(tmp_path: Path) -> None:
    (block,) = [block for block in commands_of(README) if block.is_slow]
    with Reader([block], tmp_path) as reader:
        assert "exported: model_repository/digits/1" in reader.run(block)
