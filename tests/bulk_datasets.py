"""Datasets for bulk jobs, in every form that they read."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from models.codefile import CodeFile


def write_parquet(path: Path, rows: np.ndarray, *, rows_per_group: int, ids: Sequence[str] | None = None) -> None:
    """Rows [B, D] as a column of lists `inputs`, and `ids` as `id`."""
    columns = {"inputs": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])}
    if ids is not None:
        columns["id"] = pa.array(ids, pa.string())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)


def fixed_bytes(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """Rows [B, ...] of any dtype as a column of the bytes that each is in memory."""
    content = np.ascontiguousarray(rows)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(content[0].nbytes), len(content), [None, pa.py_buffer(content)]
    )


def png(pixels: np.ndarray) -> bytes:
    """Pixels [H, W] as the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def codes_in(folder: Path) -> np.ndarray:
    """All codes of a destination in the order of its parts."""
    found = []
    for path in sorted(folder.glob("part-*.parquet")):
        with CodeFile(path) as file:
            found += [batch.codes for batch in file.batches()]
    return np.concatenate(found)


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Every file of a destination by its name: what two runs of one job must have in common."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
