"""Who may know whom: the rooms' walls, held from outside."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def loaded_by(statement: str) -> set[str]:
    """Top-level names of all modules that a fresh interpreter has loaded after the statement."""
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=240
    )
    return set(finished.stdout.split())


def test_the_service_loads_nothing_that_only_training_needs() -> None:
    loaded = loaded_by("import service.app, service.__main__, onnxruntime")
    assert {"service", "models", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "onnx", "onnxscript", "sklearn", "scipy", "training", "latent_codes_client"}


def test_the_engine_can_be_used_without_a_web_framework() -> None:
    loaded = loaded_by("import service.engine, service.catalog, service.golden")
    assert "onnxruntime" in loaded
    assert not loaded & {"fastapi", "starlette", "uvicorn", "anyio"}


def test_the_contract_loads_neither_torch_nor_onnxruntime() -> None:
    loaded = loaded_by("import models.repository, models.graphs, models.noise, models.codes")
    assert "models" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "fastapi", "starlette", "service", "training"}


def test_the_client_loads_none_of_the_rooms() -> None:
    loaded = loaded_by("import latent_codes_client")
    assert "latent_codes_client" in loaded
    assert not loaded & {"models", "service", "training", "torch", "onnxruntime", "pydantic"}


def test_every_import_contract_is_kept() -> None:
    pytest.importorskip("importlinter", reason="import-linter belongs to the lint group")
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stdout
