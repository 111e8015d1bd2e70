"""The log of a run: one JSON object a line in `metrics.jsonl`, and the same scalars for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """Scalars by name and step. Names say split and quantity: `train/negative_elbo`.

    Opened at a step above 0 it continues an interrupted run: what was logged after that step is dropped, because it
    will be logged again.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        path = folder / METRICS_FILE
        kept = [record for record in read_metrics(folder) if 0 < record["step"] <= step]
        # In one rename, so that nothing is lost when this is interrupted too.
        temporary = path.with_suffix(".partial")
        temporary.write_text("".join(_line(record) for record in kept), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log these scalars, measured when `step` steps had been taken."""
        self._file.write(_line({"step": step, **values}))
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is still to be written."""
        self._file.close()
        self._tensorboard.close()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's log, oldest first; a last line that an interruption cut short is left out."""
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
