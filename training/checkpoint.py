"""Checkpoints: everything a run needs to continue as if it had not stopped."""

import io
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

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


def step_of(path: Path) -> int:
    """The step of a checkpoint, from the name of its file."""
    name = _FILE.fullmatch(path.name)
    if name is None:
        raise ValueError(f"expected the file of a checkpoint, got {path}")
    return int(name[1])


def save(run: Path, checkpoint: Checkpoint, *, keep: int, milestones: Collection[int] = ()) -> Path:
    """Write a checkpoint in one rename, then remove all but the newest `keep` and those at the steps of `milestones`.

    That of step 0 stays too: only a run that began with the weights of another has one. Raises RunError, with all kept.
    """
    path = run / "checkpoints" / f"step-{checkpoint.step:09d}.pt"
    temporary = path.with_suffix(".partial")
    # To memory first: torch.save turns what goes wrong with a file into errors about its own format.
    content = io.BytesIO()
    torch.save(vars(checkpoint), content)
    try:
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        for old in checkpoints(run)[:-keep]:
            if step_of(old) not in {0, *milestones}:
                old.unlink()
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise RunError(
            f"cannot write the checkpoint {path}: {error.strerror}; make room for it, then use --resume"
        ) from error
    return path


def restore(model: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Give `model` the weights of a checkpoint, read from `path`. Raises RunError when they are not of this model."""
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise RunError(
            f"{path} does not fit the model of the run's config.toml and data: a weight is missing or has another "
            "shape; undo what changed since the run began, or start another run"
        ) from error


def load(path: Path, *, device: torch.device) -> Checkpoint:
    """Read a checkpoint; tensors only, nothing that could run code. Raises RunError when it cannot be read."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        # A generator's state lives on the CPU whatever device it draws on.
        return Checkpoint(**{**state, "generator": state["generator"].cpu()})
    except Exception as error:
        # Damaged bytes raise anything; PyTorch answers with paragraphs, advising to switch off what makes this safe.
        raise RunError(
            f"{path} cannot be read as a checkpoint of this version: it is damaged or something else; remove it to "
            "use the one before"
        ) from error
