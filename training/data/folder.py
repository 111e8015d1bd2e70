"""A folder of images, searched with all its sub-folders, in the order of their paths.

Sub-folders named train, valid and test are its splits. The folder an image lies in, directly below the folder or its
split, is its class; where some images lie in no such sub-folder there are no classes. Files and folders whose name
begins with a dot, and files that are no images by their ending, are passed over; links to folders are not followed.
"""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.pictures import pixels_of
from training.data.config import DataConfig, Mode
from training.data.material import Material, input_spec, readable
from training.data.pictures import SUFFIXES, has_colour, open_picture
from training.data.splits import SPLIT_NAMES, Split, SplitName
from training.errors import DataError


def read(config: DataConfig) -> Material:
    """The images under `config.path`. Raises DataError that names the file or folder and what to do."""
    root = config.location
    if root is None or not root.is_dir():
        found = "a file" if root is not None and root.exists() else "nothing"
        raise DataError(f"data.path: expected a folder of images, found {found} at {config.path!r}; correct the path")
    bases = _split_folders(root)
    files = {name: _images_below(base) for name, base in bases.items()}
    every_file = [path for paths in files.values() for path in paths]
    mode = config.mode or _usual_mode(every_file)
    decoded = _decode(every_file, mode, config.resize)
    classes = _class_names(bases, files)
    splits: dict[SplitName, Split] = {}
    start = 0
    for name, paths in files.items():
        splits[name] = Split(decoded.pixels[start : start + len(paths)], _labels(bases[name], paths, classes))
        start += len(paths)
    return Material(
        splits=splits,
        input=input_spec(decoded.shape),
        scale=255.0,
        of=readable(root.resolve().name),
        origin={
            "source": "a folder of images",
            "files": [
                {
                    "file": readable(root.resolve().name),
                    "num_images": len(every_file),
                    "sha256": _listing(root, every_file, decoded.sha256),
                    "checksum_of": "the list of files, sorted by path, as sha256sum prints it",
                }
            ],
            "mode": mode,
            "resize": None if config.resize is None else list(config.resize),
            "classes": [readable(name) for name in classes],
        },
    )


def _split_folders(root: Path) -> dict[SplitName, Path]:
    """Where the images of each split lie. Raises DataError when it cannot be told."""
    present: list[SplitName] = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    images = _images_below(root)
    if not images:
        raise DataError(
            f"{root}: expected images ({', '.join(SUFFIXES)}) in the folder or its sub-folders, found none; correct "
            "data.path, or convert the images"
        )
    if not present:
        return {"train": root}
    stray = next((path for path in images if path.relative_to(root).parts[0] not in present), None)
    if "train" not in present or stray is not None:
        problem = "no folder train" if stray is None else f"also {stray}"
        raise DataError(
            f"{root}: the sub-folder {present[0]} is a split, so expected all images in sub-folders train, valid and "
            f"test, train among them; found {problem}; move the images, or rename the sub-folder if it is a class"
        )
    empty = next((name for name in present if not _images_below(root / name)), None)
    if empty is not None:
        raise DataError(
            f"{root / empty}: expected images of the split {empty}, found none; add some or remove the folder"
        )
    return {name: root / name for name in present}


def _images_below(folder: Path) -> list[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _usual_mode(files: Iterable[Path]) -> Mode:
    return "RGB" if any(has_colour(open_picture(_content(path), path)) for path in files) else "L"


class _Decoded(NamedTuple):
    """`pixels` [n, D] of images of one `shape`, and the SHA-256 of the file that each was decoded from."""

    pixels: NDArray[np.uint8]
    shape: tuple[int, ...]
    sha256: list[str]


def _decode(files: list[Path], mode: Mode, resize: tuple[int, int] | None) -> _Decoded:
    """Raises DataError, naming two files, when the images have no common size."""
    shape = pixels_of(open_picture(_content(files[0]), files[0]), mode, resize).shape
    pixels = np.empty((len(files), math.prod(shape)), np.uint8)
    sha256 = []
    for row, path in enumerate(files):
        content = _content(path)
        sha256.append(hashlib.sha256(content).hexdigest())
        picture = pixels_of(open_picture(content, path), mode, resize)
        if picture.shape != shape:
            raise DataError(
                f"expected images of one size, got {files[0]} of {shape[0]} x {shape[1]} and {path} of "
                f"{picture.shape[0]} x {picture.shape[1]} pixels (height x width); set data.resize = [height, width] "
                f"to scale all of them, for example [{shape[0]}, {shape[1]}]"
            )
        pixels[row] = picture.reshape(-1)
    return _Decoded(pixels, shape, sha256)


def _class_of(base: Path, path: Path) -> str | None:
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else None


def _class_names(bases: dict[SplitName, Path], files: dict[SplitName, list[Path]]) -> list[str]:
    """Names of the classes, sorted, over all splits; none when an image has no class."""
    names = {_class_of(bases[name], path) for name, paths in files.items() for path in paths}
    return [] if None in names else sorted(name for name in names if name is not None)


def _labels(base: Path, paths: list[Path], classes: list[str]) -> NDArray[np.int64] | None:
    if not classes:
        return None
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[str(_class_of(base, path))] for path in paths], np.int64)


def _listing(root: Path, files: list[Path], sha256: list[str]) -> str:
    """SHA-256 of the list of files, sorted by path, with their own SHA-256, as the program sha256sum prints it."""
    entries = sorted((path.relative_to(root).as_posix(), digest) for path, digest in zip(files, sha256, strict=True))
    text = "".join(f"{digest}  {name}\n" for name, digest in entries)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; repair or remove it") from error
