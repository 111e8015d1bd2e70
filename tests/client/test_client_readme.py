"""Every code block of the client's README runs against a real service, in its order."""

from collections.abc import Iterator
from typing import Any

import pytest
from document_blocks import ROOT, Block, commands_of
from document_reader import Reader

COMMANDS = commands_of(ROOT / "client" / "README.md")


@pytest.fixture(scope="module")
def reader(running_service: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(COMMANDS, tmp_path_factory.mktemp("clone"), port=running_service.port) as reader:
        yield reader


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_the_example_runs_and_prints_something(reader: Reader, block: Block) -> None:
    assert reader.run(block).strip()
