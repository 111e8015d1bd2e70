"""Every code block of the client's README runs against a real service, in its order."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "client" / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["sync", "async", "errors"])
def test_the_example_runs(running_service: Any, block: str) -> None:
    code = block.replace("http://127.0.0.1:8000", running_service.url)
    assert code != block
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip()
