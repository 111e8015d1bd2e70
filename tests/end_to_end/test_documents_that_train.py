"""Blocks of documents that train a model, and pages that go on from there: run as they are written."""

from pathlib import Path

import pytest
from document_blocks import ROOT, commands_of
from document_reader import Reader

README = ROOT / "README.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_readme_trains_evaluates_and_exports(tmp_path: Path) -> None:
    (block,) = [block for block in commands_of(README) if block.is_slow]
    with Reader([block], tmp_path) as reader:
        assert "exported: model_repository/digits/1" in reader.run(block)
