"""What to train on: the `data` section of a configuration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from models.noise import MAX_SEED
from training.data.binarization import BINARIZATIONS, Binarization
from training.errors import ConfigError

SourceName = Literal["digits", "mnist", "fashion-mnist", "binarized-mnist", "array", "folder"]
Mode = Literal["L", "RGB"]
PlacementOption = Literal["auto", "resident", "packed", "streamed"]

_USERS_OWN = ("array", "folder")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data, how split, how binarised. None stands for what is usual for the source.

    Raises ConfigError on an option that is wrong or that the source has no use for.
    """

    name: SourceName = "digits"
    path: str | None = None
    """A folder with the files of an MNIST, instead of downloading them; the .npy or .npz file; the folder of images."""
    cache: str = "data"
    """Where downloaded files are kept, in a sub-folder of the data's name."""
    binarization: Binarization | None = None
    """None: "none" where every value is 0 or 1 already, else "dynamic"."""
    valid_fraction: float | None = None
    """Fraction of the training rows to cut off for validation, where the source has no validation split of its own.
    None: 1/6 for mnist and fashion-mnist (10,000 of 60,000), else 0.1."""
    test_fraction: float | None = None
    """The same for the test split. None: 0.2 for digits, else 0.1."""
    split_seed: int = 0
    """Decides which rows are cut off."""
    resize: tuple[int, int] | None = None
    """Height and width that every image of a folder is scaled to, bilinearly, its aspect ratio not kept."""
    mode: Mode | None = None
    """What the images of a folder are converted to. None: "RGB" if any of them has colour, else "L"."""
    placement: PlacementOption = "auto"
    """Where training rows lie: on the device ("resident"; "packed" for bits), or in the host's memory ("streamed").
    "auto": on the device where they fit into half of its free memory."""

    def __post_init__(self) -> None:
        if self.name not in get_args(SourceName):
            raise ConfigError(f"data.name: expected one of {', '.join(get_args(SourceName))}, got {self.name!r}")
        self._check_path()
        if self.binarization is not None and self.binarization not in BINARIZATIONS:
            raise ConfigError(f"data.binarization: expected {', '.join(BINARIZATIONS)}, got {self.binarization!r}")
        if self.name == "binarized-mnist" and self.binarization not in (None, "none"):
            raise ConfigError(
                f"data.binarization: binarized-mnist is binarised already, expected none, got {self.binarization!r}; "
                "for another binarisation use the data mnist"
            )
        for option in ("valid_fraction", "test_fraction"):
            _check_fraction(option, getattr(self, option))
        if (self.valid_fraction or 0) + (self.test_fraction or 0) >= 1:
            raise ConfigError(
                f"data.valid_fraction + data.test_fraction: expected less than 1, so that rows remain to train on, "
                f"got {self.valid_fraction} + {self.test_fraction}"
            )
        if not _is_int(self.split_seed) or not 0 <= self.split_seed <= MAX_SEED:
            raise ConfigError(f"data.split_seed: expected an integer from 0 to {MAX_SEED}, got {self.split_seed!r}")
        if self.placement not in get_args(PlacementOption):
            raise ConfigError(
                f"data.placement: expected one of {', '.join(get_args(PlacementOption))}, got {self.placement!r}"
            )
        self._check_image_options()

    @property
    def location(self) -> Path | None:
        """`path` with a leading ~ replaced by the home folder."""
        return None if self.path is None else Path(self.path).expanduser()

    def _check_path(self) -> None:
        if self.path is not None and (not isinstance(self.path, str) or not self.path):
            raise ConfigError(f"data.path: expected the name of a file or folder, got {self.path!r}")
        if not isinstance(self.cache, str) or not self.cache:
            raise ConfigError(f"data.cache: expected the name of a folder, got {self.cache!r}")
        if self.name in _USERS_OWN and self.path is None:
            what = "a .npy or .npz file" if self.name == "array" else "a folder of images"
            raise ConfigError(f"data.path: the data {self.name!r} needs {what}; set data.path to it")
        if self.name == "digits" and self.path is not None:
            raise ConfigError(
                f"data.path: the digits ship with scikit-learn and are read from no path, got {self.path!r}; leave it "
                'out, or set data.name to "array" or "folder" to train on your own data'
            )

    def _check_image_options(self) -> None:
        for option in ("resize", "mode"):
            if self.name != "folder" and getattr(self, option) is not None:
                raise ConfigError(f"data.{option}: applies to the data folder only, leave it out for {self.name}")
        if self.mode is not None and self.mode not in get_args(Mode):
            raise ConfigError(f"data.mode: expected L or RGB, got {self.mode!r}")
        if self.resize is not None:
            # A configuration file has lists, no tuples.
            sizes = tuple(self.resize) if isinstance(self.resize, (tuple, list)) else ()
            if len(sizes) != 2 or not all(_is_int(size) and size >= 1 for size in sizes):
                raise ConfigError(f"data.resize: expected [height, width] in pixels, got {self.resize!r}")
            object.__setattr__(self, "resize", sizes)


def _check_fraction(option: str, fraction: object) -> None:
    if fraction is None:
        return
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        raise ConfigError(f"data.{option}: expected a fraction between 0 and 1, both excluded, got {fraction!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
