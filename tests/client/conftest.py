"""Both clients through one face: a test that uses them runs once with each."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from latent_codes_client import AsyncLatentCodesClient, LatentCodesClient

Answer = Callable[[httpx.Request], httpx.Response]


class Awaited:
    """An AsyncLatentCodesClient whose methods are awaited at once, so that it reads like the other client."""

    def __init__(self, runner: asyncio.Runner, *args: Any, **kwargs: Any) -> None:
        self._runner = runner
        self._client = AsyncLatentCodesClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        assert inspect.iscoroutinefunction(method)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients of one kind, and closes them."""
    made = []
    with asyncio.Runner() as runner:

        def make(*args: Any, **kwargs: Any) -> Any:
            client = LatentCodesClient(*args, **kwargs) if request.param == "sync" else Awaited(runner, *args, **kwargs)
            made.append(client)
            return client

        yield make
        for client in made:
            client.close()


@pytest.fixture
def answered_by(make_client: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a client of a service that is a function from request to response."""

    def make(answer: Answer, **kwargs: Any) -> Any:
        return make_client("http://service.test", transport=httpx.MockTransport(answer), **kwargs)

    return make
