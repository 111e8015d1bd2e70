"""Models that change in all workers at once, and workers that start later and know what the others know."""

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY
from waiting import eventually

from models.repository import Repository
from service.errors import LoadFailed, NotApplied, UnknownModel
from service.live_models import SERVED_BEFORE, LiveModels
from service.model_control import ModelControl
from service.process.control import Alone, Answer
from service.settings import Settings


@dataclass
class Together:
    """Controls of several workers in this process: what one tells, all are told, as by a supervisor."""

    workers: list[Alone] = field(default_factory=list)
    remembered: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)

    def handle(self, name: str, handler: Any) -> None:
        self.workers[-1].handle(name, handler)

    async def tell_all(
        self, name: str, arguments: dict[str, Any], *, remember_as: str | None = None, timeout: float = 60.0
    ) -> list[Answer]:
        if remember_as is not None:
            self.remembered.pop(remember_as, None)
            self.remembered[remember_as] = (name, arguments)
        answers = []
        for slot, worker in enumerate(self.workers):
            if slot in self.dead:
                answers.append(Answer(slot, {}, "it ended before it answered"))
                continue
            [answer] = await worker.tell_all(name, arguments, timeout=timeout)
            answers.append(replace(answer, slot=slot))
        return answers

    def join(self, root: Path) -> tuple[LiveModels, ModelControl]:
        """One more worker, which loads what is on disk and then hears what the others were told."""
        self.workers.append(Alone())
        live = LiveModels(Settings(model_repositories=(root,), device="cpu"))
        control = ModelControl(live, self)

        async def catch_up() -> None:
            for name, arguments in self.remembered.values():
                await self.workers[-1].tell_all(name, arguments)

        asyncio.run(catch_up())
        return live, control


@pytest.fixture
def root(tmp_path: Path, tiny_repository: Path) -> Path:
    """A repository of the two tiny models, to be written to."""
    return Path(shutil.copytree(tiny_repository, tmp_path / "repository"))


@pytest.fixture
def together() -> Together:
    return Together()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def replace_the_model(root: Path) -> None:
    """Other content under the same number."""
    shutil.rmtree(root / "tiny-binary" / "1")
    replace(TINY_BINARY, relaxation_temperature=0.25).publish(Repository(root))


def test_all_workers_load_and_unload(together: Together, root: Path) -> None:
    first, control = together.join(root)
    second, _ = together.join(root)
    TINY_BINARY.publish(Repository(root))
    run(control.load("tiny-binary"))
    assert [live.catalog.versions("tiny-binary") for live in (first, second)] == [[1, 2]] * 2
    run(control.unload("tiny-binary"))
    assert [live.catalog.names() for live in (first, second)] == [["tiny-categorical"]] * 2


def test_a_worker_that_joins_later_knows_what_was_unloaded(together: Together, root: Path) -> None:
    _, control = together.join(root)
    run(control.unload("tiny-binary"))
    later, _ = together.join(root)
    assert later.catalog.names() == ["tiny-categorical"]
    run(control.load("tiny-binary"))
    assert later.catalog.names() == ["tiny-binary", "tiny-categorical"]
    even_later, _ = together.join(root)
    assert even_later.catalog.names() == later.catalog.names()


def test_a_worker_that_joins_later_serves_no_other_model_under_a_number(together: Together, root: Path) -> None:
    first, control = together.join(root)
    run(control.pin())
    replace_the_model(root)
    later, _ = together.join(root)
    assert first.catalog.versions("tiny-binary") == [1]
    assert later.catalog.versions("tiny-binary") == []
    assert [refusal.reason for refusal in later.catalog.refusals()] == [SERVED_BEFORE]
    # Until it is said that the number may mean another one.
    run(control.unload("tiny-binary"))
    run(control.load("tiny-binary"))
    for live in (first, later, together.join(root)[0]):
        assert live.catalog.get("tiny-binary").manifest.relaxation_temperature == 0.25


def test_what_a_load_raises_in_every_worker_it_raises_here(together: Together, root: Path) -> None:
    _, control = together.join(root)
    together.join(root)
    with pytest.raises(UnknownModel, match="no model 'nothing'"):
        run(control.load("nothing"))
    with pytest.raises(UnknownModel):
        run(control.unload("nothing"))
    broken = TINY_BINARY.publish(Repository(root)).folder
    (broken / "decoder.onnx").write_bytes(b"broken")
    with pytest.raises(LoadFailed, match=r"version 2 .* was refused"):
        run(control.load("tiny-binary"))


def test_a_worker_that_did_not_answer_is_told_of(together: Together, root: Path) -> None:
    first, control = together.join(root)
    together.join(root)
    together.dead.add(1)
    with pytest.raises(NotApplied, match="worker 1: it ended before it answered"):
        run(control.unload("tiny-binary"))
    assert first.catalog.names() == ["tiny-categorical"]


def test_loads_and_unloads_at_once_end_the_same_in_all_workers(together: Together, root: Path) -> None:
    first, control = together.join(root)
    second, other = together.join(root)

    async def both() -> None:
        for _ in range(5):
            await asyncio.gather(control.unload("tiny-binary"), other.load("tiny-binary"), control.load("tiny-binary"))

    run(both())
    assert first.catalog.names() == second.catalog.names()


def test_polling_serves_what_is_new_and_goes_on_after_a_failure(together: Together, root: Path) -> None:
    live, control = together.join(root)
    together.join(root)

    async def poll() -> None:
        polling = asyncio.create_task(control.poll(0.01))
        try:
            together.dead.add(1)
            TINY_BINARY.publish(Repository(root))
            await until(lambda: live.catalog.default_version("tiny-binary") == 2)
            TINY_BINARY.publish(Repository(root))
            await until(lambda: live.catalog.default_version("tiny-binary") == 3)
            assert not polling.done()
        finally:
            polling.cancel()

    run(poll())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


# In processes.

ENCODE = {"inputs": TINY_BINARY.inputs(2).tolist()}


def answers(service: ServiceProcess, count: int = 40) -> Counter[int | str]:
    """Versions, or statuses, of so many requests, each on a connection of its own, so that every worker is asked."""
    seen: Counter[int | str] = Counter()
    for _ in range(count):
        reply = httpx.post(f"{service.url}/v1/models/tiny-binary/encode", json=ENCODE, timeout=30)
        if reply.status_code == 200:
            assert reply.json()["codes"] == TINY_BINARY.encode(TINY_BINARY.inputs(2)).codes.tolist()
            seen[reply.json()["version"]] += 1
        else:
            seen[f"status {reply.status_code}"] += 1
    return seen


@pytest.mark.slow
def test_every_worker_serves_a_new_version_and_so_do_those_that_replace_them(tmp_path: Path, root: Path) -> None:
    with ServiceProcess([root], log=tmp_path / "log", workers=2, repository_poll_seconds=0.2) as service:
        assert set(answers(service)) == {1}
        TINY_BINARY.publish(Repository(root))
        eventually(lambda: set(answers(service)) == {2})
        before = service.workers()
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda: len(service.workers()) == 2 and service.workers() != before)
        assert set(answers(service)) == {2}
        TINY_BINARY.publish(Repository(root))
        eventually(lambda: set(answers(service)) == {3})


@pytest.mark.slow
def test_a_worker_that_replaces_another_never_answers_with_another_model(tmp_path: Path, root: Path) -> None:
    with ServiceProcess([root], log=tmp_path / "log", workers=2, repository_poll_seconds=0.2) as service:
        replace_the_model(root)
        for _ in range(2):
            before = service.workers()
            os.kill(min(before), signal.SIGKILL)
            eventually(lambda: len(service.workers()) == 2 and service.workers() != before)  # noqa: B023
        assert set(answers(service)) <= {1, "status 503"}
        ready = httpx.get(f"{service.url}/v2/health/ready", timeout=30)
        assert ready.status_code == 503
        assert SERVED_BEFORE in service.log_text()
