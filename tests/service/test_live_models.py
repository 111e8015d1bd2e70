"""Models that come and go while others are served: what is picked up, what is refused, and what stays."""

import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TINY_BINARY, TINY_CATEGORICAL

from models.repository import MANIFEST_FILE, Repository
from service.errors import LoadFailed, ModelUnavailable, RepositoryUnreadable, UnknownModel, UnknownVersion
from service.live_models import CHANGED, SERVED_BEFORE, UNSETTLED, Entry, LiveModels
from service.loading import INCOMPLETE
from service.settings import Settings


@pytest.fixture
def root(tmp_path: Path, tiny_repository: Path) -> Path:
    """A repository of the two tiny models, to be written to."""
    return Path(shutil.copytree(tiny_repository, tmp_path / "repository"))


@pytest.fixture
def live(root: Path) -> LiveModels:
    return live_models(root)


def live_models(*roots: Path) -> LiveModels:
    return LiveModels(Settings(model_repositories=roots, device="cpu"))


def look(live: LiveModels) -> list[str]:
    """What polling does once."""
    changed = live.changed()
    for name in changed:
        live.refresh(name)
    return changed


def publish(root: Path) -> Path:
    """The next version of tiny-binary."""
    return TINY_BINARY.publish(Repository(root)).folder


def break_a_graph(folder: Path) -> None:
    (folder / "decoder.onnx").write_bytes(b"not what the manifest says")


def test_what_does_not_change_is_not_looked_at(live: LiveModels) -> None:
    assert live.changed() == []
    catalog = live.catalog
    live.refresh()
    assert [*live.catalog.engines] == [*catalog.engines]


def test_a_published_version_is_served_at_the_first_look(live: LiveModels, root: Path) -> None:
    before = live.catalog
    publish(root)
    assert look(live) == ["tiny-binary"]
    assert live.catalog.default_version("tiny-binary") == 2
    assert live.catalog.versions("tiny-binary") == [1, 2]
    assert live.changed() == []
    # A request that came before keeps what it found.
    assert before.default_version("tiny-binary") == 1
    assert before.get("tiny-binary", 1) is live.catalog.get("tiny-binary", 1)


def test_a_new_model_is_served_beside_the_others(live: LiveModels, root: Path) -> None:
    replace(TINY_BINARY, name="another").publish(Repository(root))
    assert look(live) == ["another"]
    assert live.catalog.names() == ["another", "tiny-binary", "tiny-categorical"]


@pytest.mark.parametrize("order", ["manifest-first", "manifest-last"])
def test_a_copy_is_served_only_once_it_is_whole(
    live: LiveModels, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    """File by file and byte by byte, with a look after each; no state but the last is served, and none is an error."""
    whole = publish(Repository(shutil.copytree(root, tmp_path / "elsewhere")).root)
    target = root / "tiny-binary" / "2"
    files = sorted(whole.iterdir(), key=lambda path: (path.name == MANIFEST_FILE) is (order == "manifest-last"))
    pieces = [(path, content) for path in files for content in halves(path.read_bytes())]
    with caplog.at_level(logging.WARNING):
        target.mkdir()
        for number, (path, content) in enumerate(pieces):
            with (target / path.name).open("ab") as file:
                file.write(content)
            assert look(live) == ["tiny-binary"]
            is_whole = number == len(pieces) - 1
            assert live.catalog.versions("tiny-binary") == ([1, 2] if is_whole else [1])
            assert live.catalog.readiness().ready
            if not is_whole:
                assert [refusal.reason for refusal in live.catalog.refusals("tiny-binary")] == [UNSETTLED]
    assert live.catalog.refusals() == []
    assert caplog.records == []


def halves(content: bytes) -> list[bytes]:
    return [content[: len(content) // 2], content[len(content) // 2 :]]


def test_a_copy_that_stops_half_way_is_refused_and_served_when_it_goes_on(
    live: LiveModels, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = publish(root)
    graph = folder / "encoder.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:100])
    with caplog.at_level(logging.ERROR):
        look(live)
        assert not caplog.records
        assert look(live) == ["tiny-binary"]
    assert [refusal.reason for refusal in live.catalog.refusals()] == [INCOMPLETE]
    assert "encoder.onnx" in caplog.text
    assert live.changed() == []
    graph.write_bytes(content)
    look(live)
    assert live.catalog.default_version("tiny-binary") == 2


def test_a_broken_new_version_leaves_the_old_one_serving_and_says_why(
    live: LiveModels, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = publish(root)
    break_a_graph(folder)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            look(live)
    [record] = caplog.records  # once, not at every look
    assert str(folder) in record.getMessage()
    catalog = live.catalog
    assert catalog.get("tiny-binary").manifest.version == 1
    assert catalog.get("tiny-binary").encode(TINY_BINARY.inputs(2)).codes is not None
    with pytest.raises(ModelUnavailable, match="its files are altered"):
        catalog.get("tiny-binary", 2)
    assert catalog.readiness().ready
    assert [(refusal.version, refusal.reason) for refusal in catalog.readiness().failed] == [(2, INCOMPLETE)]
    assert Entry("tiny-binary", 2, ready=False, reason=INCOMPLETE) in live.index()


def test_what_a_restart_serves_is_what_was_served_before_it(live: LiveModels, root: Path) -> None:
    break_a_graph(publish(root))
    publish(root)
    break_a_graph(publish(root))
    for _ in range(2):
        look(live)
    restarted = live_models(root)
    assert restarted.catalog.versions("tiny-binary") == live.catalog.versions("tiny-binary") == [1, 3]
    assert restarted.catalog.default_version("tiny-binary") == live.catalog.default_version("tiny-binary") == 3
    assert restarted.catalog.readiness() == live.catalog.readiness()
    assert restarted.index() == live.index()


def test_a_version_whose_folder_is_gone_is_taken_out(live: LiveModels, root: Path) -> None:
    folder = publish(root)
    look(live)
    shutil.rmtree(folder)
    look(live)
    assert live.catalog.versions("tiny-binary") == [1]
    with pytest.raises(UnknownVersion):
        live.catalog.get("tiny-binary", 2)
    shutil.rmtree(root / "tiny-binary")
    look(live)
    with pytest.raises(UnknownModel):
        live.catalog.get("tiny-binary")
    assert live.catalog.readiness().ready


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def replace_by_a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.touch()


@pytest.mark.parametrize("lose", [shutil.rmtree, empty, replace_by_a_file], ids=["gone", "empty", "a-file"])
def test_a_repository_that_is_not_there_any_more_takes_nothing_out(
    live: LiveModels, root: Path, caplog: pytest.LogCaptureFixture, lose: Callable[[Path], None]
) -> None:
    lose(root)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert look(live) == []
            live.refresh()
    assert live.catalog.names() == ["tiny-binary", "tiny-categorical"]
    assert len(caplog.records) == 1
    assert "what is served stays" in caplog.text


def test_files_that_change_under_a_number_leave_what_was_loaded(
    live: LiveModels, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = root / "tiny-binary" / "1"
    other = replace(TINY_BINARY, relaxation_temperature=0.25)
    codes = live.catalog.get("tiny-binary").encode(TINY_BINARY.inputs(3)).codes
    shutil.rmtree(folder)
    other.publish(Repository(root))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            look(live)
    assert caplog.text.count(CHANGED) == 1
    engine = live.catalog.get("tiny-binary")
    assert engine.manifest.relaxation_temperature == TINY_BINARY.relaxation_temperature
    np.testing.assert_array_equal(engine.encode(TINY_BINARY.inputs(3)).codes, codes)
    assert Entry("tiny-binary", 1, ready=True, reason=CHANGED) in live.index()
    assert live.catalog.readiness().ready


def test_files_that_were_touched_and_hold_the_same_model_are_no_change(live: LiveModels, root: Path) -> None:
    for path in (root / "tiny-binary" / "1").iterdir():
        os.utime(path, ns=(1, 1))
    assert look(live) == ["tiny-binary"]
    assert live.catalog.refusals() == []
    assert live.changed() == []


def test_a_number_means_the_same_model_after_its_folder_was_away(live: LiveModels, root: Path) -> None:
    shutil.rmtree(root / "tiny-binary" / "1")
    look(live)
    replace(TINY_BINARY, relaxation_temperature=0.25).publish(Repository(root))
    look(live)
    assert [refusal.reason for refusal in live.catalog.refusals("tiny-binary")] == [SERVED_BEFORE]
    assert live.catalog.versions("tiny-binary") == []
    shutil.rmtree(root / "tiny-binary" / "1")
    publish(root)
    look(live)
    assert live.catalog.versions("tiny-binary") == [1]


def test_loading_serves_what_is_new_at_once(live: LiveModels, root: Path) -> None:
    publish(root)
    live.load("tiny-binary")
    assert live.catalog.default_version("tiny-binary") == 2


def test_loading_a_broken_version_says_why_and_what_is_served(live: LiveModels, root: Path) -> None:
    folder = publish(root)
    content = (folder / "decoder.onnx").read_bytes()
    break_a_graph(folder)
    for _ in range(2):
        with pytest.raises(LoadFailed, match=r"version 2 .* was refused: its files .*; version 1 is served$"):
            live.load("tiny-binary")
    assert live.catalog.default_version("tiny-binary") == 1
    (folder / "decoder.onnx").write_bytes(content)
    live.load("tiny-binary")
    assert live.catalog.default_version("tiny-binary") == 2


def test_loading_what_is_not_there_is_an_error(live: LiveModels, root: Path) -> None:
    for name in ("nothing", "../tiny-binary", ""):
        with pytest.raises(UnknownModel):
            live.load(name)
    replace_by_a_file(root)
    with pytest.raises(RepositoryUnreadable) as caught:
        live.load("tiny-binary")
    assert str(root) not in str(caught.value)


def test_an_unloaded_model_stays_away_until_it_is_loaded(live: LiveModels, root: Path) -> None:
    live.unload("tiny-binary")
    assert live.catalog.names() == ["tiny-categorical"]
    with pytest.raises(UnknownModel, match="was unloaded"):
        live.catalog.get("tiny-binary")
    assert live.catalog.readiness().ready
    publish(root)
    assert look(live) == []
    assert [(entry.version, entry.ready, entry.reason) for entry in live.index() if entry.name == "tiny-binary"] == [
        (1, False, "unloaded"),
        (2, False, "unloaded"),
    ]
    live.load("tiny-binary")
    assert live.catalog.versions("tiny-binary") == [1, 2]


def test_unloading_twice_is_an_error_the_second_time(live: LiveModels) -> None:
    live.unload("tiny-binary")
    with pytest.raises(UnknownModel):
        live.unload("tiny-binary")


def test_after_unloading_a_number_may_mean_another_model(live: LiveModels, root: Path) -> None:
    live.unload("tiny-binary")
    shutil.rmtree(root / "tiny-binary" / "1")
    replace(TINY_BINARY, relaxation_temperature=0.25).publish(Repository(root))
    live.load("tiny-binary")
    assert live.catalog.get("tiny-binary").manifest.relaxation_temperature == 0.25


def test_an_unloaded_engine_is_freed_once_the_request_that_has_it_is_done(live: LiveModels) -> None:
    engine = live.catalog.get("tiny-binary")
    freed = weakref.ref(engine)
    live.unload("tiny-binary")
    assert engine.encode(TINY_BINARY.inputs(1)).codes is not None
    del engine
    gc.collect()
    assert freed() is None


def test_of_two_repositories_the_first_answers_for_a_version_that_comes_later(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The version that is served stays: a number means the same model."""
    first = tmp_path / "first"
    first.mkdir()
    live = live_models(first, root)
    replace(TINY_CATEGORICAL, relaxation_temperature=0.25).publish(Repository(first))
    look(live)
    assert live.catalog.get("tiny-categorical").manifest.relaxation_temperature == 0.5
    assert [refusal.reason for refusal in live.catalog.refusals()] == [CHANGED]


LOAD_AND_UNLOAD = """
import json, os, sys
from pathlib import Path
from service.live_models import LiveModels
from service.settings import Settings

live = LiveModels(Settings(model_repositories=(Path(sys.argv[1]),), device="cpu"))
name = "mnist-binary"
rows = [live.catalog.get(name).manifest.golden.inputs.array()[:1].repeat(256, axis=0)]

def own_mb():
    # Without pages of files, which the system takes from memory and reads again as it likes.
    _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE") / 2**20

seen = []
for cycle in range(50):
    live.unload(name)
    unloaded = own_mb()
    live.load(name)
    live.catalog.get(name).encode(rows[0], temperature=1.0, seed=cycle, outputs=("codes", "relaxed"))
    seen.append((unloaded, own_mb(), len(os.listdir("/proc/self/fd"))))
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
def test_memory_is_given_back_and_level_over_50_loads_and_unloads() -> None:
    """In a process of its own, with a shipped model: about 14 MB that come and go."""
    shipped = Path(__file__).parents[2] / "models" / "shipped"
    finished = subprocess.run(
        [sys.executable, "-c", LOAD_AND_UNLOAD, str(shipped)], capture_output=True, text=True, check=True, timeout=240
    )
    unloaded, loaded, descriptors = zip(*json.loads(finished.stdout), strict=True)
    assert loaded[-1] - unloaded[-1] > 5
    assert max(unloaded[5:]) - min(unloaded[5:]) < 3
    assert max(loaded[5:]) - min(loaded[5:]) < 6
    assert len(set(descriptors)) == 1
