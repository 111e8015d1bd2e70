"""Files that are written whole or not at all, also when an interrupt comes at the worst moment."""

import os
from pathlib import Path
from typing import Any

import pytest

from models.atomic_files import is_unfinished, replacing


def test_what_was_there_stays_until_the_block_ends_and_for_good_if_it_raises(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("no bytes")  # type: ignore[call-overload]
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (beside,) = (entry.name for entry in tmp_path.iterdir() if entry != path)
        assert is_unfinished(beside)
    assert path.read_bytes() == b"new"
    assert not any(is_unfinished(name) for name in (path.name, ".notes.partial", f"{beside}.old"))
    assert list(tmp_path.iterdir()) == [path]


def test_it_gets_the_rights_of_any_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "codes.npy") as file:
            file.write(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "codes.npy").stat().st_mode & 0o777 == 0o640


def test_an_interrupt_just_after_the_file_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def interrupted(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened(self, *args, **kwargs).close()
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "open", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "codes.npy"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-folder"), replacing(tmp_path / "no-folder" / "codes.npy"):
        pass
