"""Both clients through one face: a test that uses them runs once with each."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import pytest
from latent_codes_client import AsyncLatentCodesClient, LatentCodesClient, Retries

Answer = Callable[[httpx.Request], httpx.Response]


class Awaited:
    """An AsyncLatentCodesClient whose methods are awaited at once, so that it reads like the other client."""

    def __init__(self, runner: asyncio.Runner, *args: Any, **kwargs: Any) -> None:
        self._runner = runner
        self._client = AsyncLatentCodesClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if inspect.isasyncgenfunction(method):
            return lambda *args, **kwargs: self._one_after_the_other(method(*args, **kwargs))
        assert inspect.iscoroutinefunction(method)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def _one_after_the_other(self, parts: AsyncGenerator[Any, None]) -> Iterator[Any]:
        end = object()
        try:
            while (part := self._runner.run(_awaited(anext(parts, end)))) is not end:
                yield part
        finally:
            self._runner.run(_awaited(parts.aclose()))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


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
    """Makes a client of a service that is a function from request to response; it asks once unless it is told to."""

    def make(answer: Answer, **kwargs: Any) -> Any:
        kwargs.setdefault("retries", Retries(attempts=1))
        return make_client("http://service.test", transport=httpx.MockTransport(answer), **kwargs)

    return make
