"""Checkpoints: everything a run needs to continue as if it had not stopped."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import RunError

_FILE = re.compile(r"step-(\d{9})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps, as state dictionaries.

    `seconds` is the time trained so far, on `device`, in words; `window` holds the sums of the scalars that were
    accumulated but not yet logged.
    """

    step: int
    seconds: float
    device: str
    model: dict[str, Any]
    optimizer: dict[str, Any]
    generator: torch.Tensor
    window: torch.Tensor


def checkpoints(run: Path) -> list[Path]:
    """Files of a run's checkpoints, by step."""
    folder = run / "checkpoints"
    return sorted(path for path in folder.glob("step-*.pt") if _FILE.fullmatch(path.name)) if folder.is_dir() else []


def save(run: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint in one rename, then remove all but the newest `keep`."""
    folder = run / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{checkpoint.step:09d}.pt"
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            torch.save(vars(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"cannot write the checkpoint {path}: {error.strerror}; free some space and use --resume"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in checkpoints(run)[:-keep]:
        old.unlink()
    return path


def load(path: Path, *, device: torch.device) -> Checkpoint:
    """Read a checkpoint; tensors only, nothing that could run code. Raises RunError when it cannot be read."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        # A generator's state lives on the CPU whatever device it draws on.
        return Checkpoint(**{**state, "generator": state["generator"].cpu()})
    except Exception as error:
        raise RunError(f"{path} cannot be read as a checkpoint: {error}; remove it to use the one before") from error
