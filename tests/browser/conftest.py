"""A real Chromium before a real service: what the tests of the playground start from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from chromium import find, flags
from playground_page import MODELS, OF_THE_TESTS, Playground
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from service_process import ServiceProcess

from models.repository import Repository

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser, started once for a file of tests: while it runs, no other test of the process has an event loop."""
    program = find()
    if program is None:
        pytest.skip("no Chromium was found; `make browser` gets one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags(), timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The shipped models, and tiny ones: of other sizes, in colour, dark on light, of many categories, of numbers."""
    root = tmp_path_factory.mktemp("repository")
    for model in MODELS.values():
        model.publish(Repository(root))
    log = tmp_path_factory.mktemp("service") / "log"
    with ServiceProcess([ROOT / "models" / "shipped", root], log=log) as running:
        yield running


@pytest.fixture
def new_playground(chromium: Browser, service: ServiceProcess) -> Iterator[Callable[..., Playground]]:
    """Makes a page with these options of a context; afterwards no other host was asked, and nothing was wrong."""
    opened: list[tuple[BrowserContext, Playground]] = []
    hosts: set[str] = set()
    problems: list[str] = []

    def make(**options: Any) -> Playground:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.url)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        playground = Playground(page, service)
        opened.append((context, playground))
        return playground

    yield make
    expected = (OF_THE_TESTS, *(problem for _, playground in opened for problem in playground.expected_problems))
    for context, _ in opened:
        context.close()
    allowed = {host for _, playground in opened for host in playground.hosts}
    assert hosts <= allowed | {""}  # "": data and blob URLs
    assert [problem for problem in problems if not problem.startswith(expected)] == []


@pytest.fixture
def playground(new_playground: Callable[..., Playground]) -> Playground:
    """A page on a desk, not yet opened."""
    return new_playground()
