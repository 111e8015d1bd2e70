"""The client for asyncio: what `client` does, and all that it builds on, with `await`."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import httpx
from numpy.typing import ArrayLike

from latent_codes_client import arrays, calls, given, plans
from latent_codes_client.arrays import CodeFormat
from latent_codes_client.calls import Call, Output, Sampling, Target
from latent_codes_client.chunks import Chunk
from latent_codes_client.errors import ClientError, NoReply, ServiceError
from latent_codes_client.given import Given, GivenCodes, Inputs
from latent_codes_client.plans import Limits, Plan
from latent_codes_client.progress import bar
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction, joined
from latent_codes_client.retries import DEFAULT_RETRIES, ONCE, Retries
from latent_codes_client.sending import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_CHUNK_ROWS,
    DEFAULT_MAX_CONCURRENCY,
    DEFAULT_TIMEOUT_SECONDS,
    checked_concurrency,
    checked_url,
    headers_of,
    raise_of,
    reply_of,
    request_of,
)

ResultT = TypeVar("ResultT")


class AsyncLatentCodesClient:
    """The client for asyncio: the same methods, to be awaited, with the same arguments and errors.

        async with AsyncLatentCodesClient("http://127.0.0.1:8000") as client:
            codes = (await client.encode("mnist-binary", images)).codes

    Iterables may be asynchronous too; others are read on the event loop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT_SECONDS,
        retries: Retries = DEFAULT_RETRIES,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As LatentCodesClient."""
        self._limits = Limits(chunk_rows, chunk_bytes)
        self._max_concurrency = checked_concurrency(max_concurrency)
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=checked_url(base_url),
            timeout=timeout,
            headers=headers_of(api_key, headers),
            transport=transport,
        )

    async def encode(
        self,
        model: str,
        inputs: Inputs,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Encoding:
        """As LatentCodesClient.encode."""
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        plan = await self._encoding(Target(model, version), inputs, sampling)
        return joined([part async for part in self._parts(plan, progress)])

    async def encode_stream(
        self,
        model: str,
        inputs: Inputs,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[Encoding, None]:
        """As LatentCodesClient.encode_stream."""
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        plan = await self._encoding(Target(model, version), inputs, sampling)
        async with aclosing(self._parts(plan, progress)) as parts:
            async for part in parts:
                yield part

    async def decode(
        self,
        model: str,
        codes: GivenCodes | None = None,
        *,
        relaxed: ArrayLike | None = None,
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Decoding:
        """As LatentCodesClient.decode."""
        plan = plans.decode_either(Target(model, version), codes, relaxed, code_format, self._limits)
        return joined([part async for part in self._parts(plan, progress)])

    async def decode_stream(
        self,
        model: str,
        codes: GivenCodes,
        *,
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[Decoding, None]:
        """As LatentCodesClient.decode_stream."""
        plan = plans.decode_either(Target(model, version), codes, None, code_format, self._limits)
        async with aclosing(self._parts(plan, progress)) as parts:
            async for part in parts:
                yield part

    async def reconstruct(
        self,
        model: str,
        inputs: Inputs,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        first_row: int = 0,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Reconstruction:
        """As LatentCodesClient.reconstruct."""
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        plan = await self._reconstruction(Target(model, version), inputs, sampling)
        return joined([part async for part in self._parts(plan, progress)])

    async def generate(
        self,
        model: str,
        num_samples: int = 1,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        first_row: int = 0,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Generation:
        """As LatentCodesClient.generate."""
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        number = arrays.integer("num_samples", num_samples)
        plan = plans.generate(Target(model, version), number, sampling, self._limits)
        return joined([part async for part in self._parts(plan, progress)])

    async def models(self) -> list[ModelSummary]:
        """As LatentCodesClient.models."""
        return await self._send(calls.models())

    async def model(self, name: str, version: int | None = None) -> Model:
        """As LatentCodesClient.model."""
        return await self._send(calls.model(Target(name, version)))

    async def is_live(self) -> bool:
        """As LatentCodesClient.is_live."""
        return await self._is("live")

    async def is_ready(self) -> bool:
        """As LatentCodesClient.is_ready."""
        return await self._is("ready")

    async def close(self) -> None:
        """As LatentCodesClient.close."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _encoding(self, target: Target, inputs: Inputs, sampling: Sampling) -> Plan[Encoding]:
        values = given.inputs(inputs)
        return plans.encode(target, values, sampling, self._limits, await self._row_shape(target, values))

    async def _reconstruction(self, target: Target, inputs: Inputs, sampling: Sampling) -> Plan[Reconstruction]:
        values = given.inputs(inputs)
        return plans.reconstruct(target, values, sampling, self._limits, await self._row_shape(target, values))

    async def _row_shape(self, target: Target, values: Given) -> tuple[int, ...] | None:
        return (await self.model(target.model, target.version)).input_shape if values.is_stream else None

    async def _parts(self, plan: Plan[ResultT], shown: bool) -> AsyncGenerator[ResultT, None]:
        """As LatentCodesClient._parts."""
        chunks = _asynchronous(plan.chunks)
        asked: deque[tuple[Chunk, asyncio.Task[ResultT]]] = deque()
        with bar(plan.num_rows, shown=shown) as done:
            chunk = plans.first_of(plan, await anext(chunks, None))
            first = await self._answer(chunk, plan.call(chunk, None))
            done(chunk.num_rows)
            yield first
            try:
                async for chunk in chunks:
                    asked.append((chunk, asyncio.create_task(self._answer(chunk, plan.call(chunk, first)))))
                    if len(asked) == self._max_concurrency:
                        answered, part = asked.popleft()
                        yield await part
                        done(answered.num_rows)
                while asked:
                    answered, part = asked.popleft()
                    yield await part
                    done(answered.num_rows)
            finally:
                for _, part in asked:
                    part.cancel()
                await asyncio.gather(*(part for _, part in asked), return_exceptions=True)

    async def _answer(self, chunk: Chunk, call: Call[ResultT]) -> ResultT:
        try:
            return await self._send(call)
        except ServiceError as error:
            raise error.of_rows(chunk.start, chunk.name_of) from error

    async def _is(self, state: calls.HealthState) -> bool:
        try:
            return await self._send(calls.health(state), ONCE)
        except NoReply:
            return False

    async def _send(self, call: Call[ResultT], retries: Retries | None = None) -> ResultT:
        for num_tried in itertools.count(1):
            try:
                return await self._send_once(call)
            except ClientError as error:
                wait = (retries or self._retries).wait_seconds(num_tried, error)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("counting ends. This is a bug.")

    async def _send_once(self, call: Call[ResultT]) -> ResultT:
        request = request_of(self._http, call)
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            raise_of(error, request)
        return call.read(reply_of(response))


async def _asynchronous(chunks: Iterable[Chunk] | AsyncIterable[Chunk]) -> AsyncIterator[Chunk]:
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
        return
    for chunk in chunks:
        yield chunk
