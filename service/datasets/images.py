"""Inputs as image files: single ones, or every image below a folder."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.kinds import IMAGE_SUFFIXES, kind_of
from service.datasets.rows import OnRefused, Rows
from service.errors import FileRefused

ToInput = Callable[[bytes], NDArray[Any]]
"""The content of an image file to one input; raises FileRefused that says why it cannot be one."""


class ImageFiles:
    """Images named one by one and images below folders, in the order given and, below a folder, of their paths.

    A file that cannot be an input is told to `on_refused` and passed over. Below a folder, files whose ending is not
    that of an image, and whatever begins with a dot, are not looked at; links to folders are not followed.
    """

    has_ids = True

    def __init__(self, paths: Sequence[Path], to_input: ToInput, on_refused: OnRefused) -> None:
        self.name = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
        self._paths = paths
        self._to_input = to_input
        self._on_refused = on_refused

    def num_rows(self) -> int:
        return sum(1 for _ in self._files())

    def batches(self, rows: int) -> Iterator[Rows]:
        inputs: list[NDArray[Any]] = []
        ids: list[str] = []
        for path in self._files():
            try:
                inputs.append(self._read(path))
            except FileRefused as refusal:
                self._on_refused(refusal)
                continue
            ids.append(self._id(path))
            if len(inputs) == rows:
                yield Rows(np.stack(inputs), ids)
                inputs, ids = [], []
        if inputs:
            yield Rows(np.stack(inputs), ids)

    def _id(self, path: Path) -> str:
        """The path below the folder, where one was given; as it was given elsewhere."""
        (first, *others) = self._paths
        return (path.relative_to(first) if not others and path != first else path).as_posix()

    def _files(self) -> Iterator[Path]:
        for path in self._paths:
            if path.is_dir():
                yield from images_below(path)
            else:
                yield path

    def _read(self, path: Path) -> NDArray[Any]:
        kind = kind_of(path)
        if kind != "image":
            raise FileRefused(f"{path}: expected an image; by its bytes it is {kind}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FileRefused(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return self._to_input(content)
        except FileRefused as refusal:
            raise FileRefused(f"{path}: {refusal}") from refusal


def images_below(folder: Path) -> Iterator[Path]:
    """Image files by their ending, folder by folder, each sorted: the same order on every machine."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(parent, name)
