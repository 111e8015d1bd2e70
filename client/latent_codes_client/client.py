"""The client. It sends calls and nothing else: `plans` says what is asked for and how much of it at a time, `calls`
what is sent, `replies` what comes back, `retries` when it is sent again.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import httpx
from numpy.typing import ArrayLike

from latent_codes_client import arrays, calls, given, plans
from latent_codes_client.arrays import CodeFormat
from latent_codes_client.calls import Call, Output, Sampling, Target
from latent_codes_client.chunks import Chunk
from latent_codes_client.errors import ClientError, InvalidArgument, NoReply, ServiceError
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


class LatentCodesClient:
    """A client of one service. It keeps its connections: make one, use it from any thread, close it.

        with LatentCodesClient("http://127.0.0.1:8000") as client:
            codes = client.encode("mnist-binary", images).codes

    Every method raises ServiceError when the service answers with an error, NoReply when it does not answer,
    InvalidReply when what answers is not the service, and InvalidArgument for what no service could accept, which is
    not sent.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url` may have a path; `timeout` is in seconds, for connecting and for each wait after that.

        `api_key` goes with every request, and so do `headers`. `retries` says when a request is sent again. In one go
        at most `chunk_rows` (rows times samples) and about `chunk_bytes`, which must not be more than the service takes
        (LATENT_CODES_MAX_ROWS, LATENT_CODES_MAX_BODY_BYTES), and `max_concurrency` such requests at once. A `transport`
        of httpx changes how requests travel: certificates, proxies.
        """
        self._limits = Limits(chunk_rows, chunk_bytes)
        self._max_concurrency = checked_concurrency(max_concurrency)
        self._retries = retries
        self._http = httpx.Client(
            base_url=checked_url(base_url),
            timeout=timeout,
            headers=headers_of(api_key, headers),
            transport=transport,
        )
        # Its threads are made when the first is needed.
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="latent-codes-client")

    def encode(
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
        """Inputs [B, D] or [B, *input] to codes and what else `outputs` asks for.

        `inputs` are an array, images of Pillow, paths of images or of `.npy` files, or an iterable of such, of rows or
        of batches. What is too much for one request is sent in several at a time; the result is that of one.

        `temperature` decides how random the codes are: at 0 they are the most probable ones, at 1 exact samples of the
        posterior. `relaxation_temperature` decides how sharp `relaxed` is, by default as at the end of training.
        Without a `seed` the service draws one where it needs one, and returns it. `first_row` is the number of the
        first row, for its noise, where these inputs continue others. `version` is by default the highest. `progress`
        shows a bar, for which tqdm is needed.
        """
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        plan = self._encoding(Target(model, version), inputs, sampling)
        return joined(list(self._parts(plan, progress)))

    def encode_stream(
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
    ) -> Iterator[Encoding]:
        """As `encode`, a part of the rows after the other: for more inputs, or codes, than fit in memory.

        No more is read and kept than a few requests' worth. A part has as many rows as went in one request; all of
        them together are what `encode` would return.
        """
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        yield from self._parts(self._encoding(Target(model, version), inputs, sampling), progress)

    def decode(
        self,
        model: str,
        codes: GivenCodes | None = None,
        *,
        relaxed: ArrayLike | None = None,
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Decoding:
        """Codes, integers [B, N] or strings [B] in `code_format`, or `relaxed` codes [B, *latent], to outputs.

        Codes may also be the path of a `.npy` file, or an iterable of codes or of arrays of them.
        """
        plan = plans.decode_either(Target(model, version), codes, relaxed, code_format, self._limits)
        return joined(list(self._parts(plan, progress)))

    def decode_stream(
        self,
        model: str,
        codes: GivenCodes,
        *,
        code_format: CodeFormat = "indices",
        version: int | None = None,
        progress: bool = False,
    ) -> Iterator[Decoding]:
        """As `decode`, a part of the codes after the other: for more than fit in memory."""
        plan = plans.decode_either(Target(model, version), codes, None, code_format, self._limits)
        yield from self._parts(plan, progress)

    def reconstruct(
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
        """Inputs to codes and back, with the error of each; arguments as `encode`."""
        sampling = Sampling.checked(
            temperature=temperature,
            relaxation_temperature=relaxation_temperature,
            seed=seed,
            num_samples=num_samples,
            first_row=first_row,
            outputs=outputs,
            code_format=code_format,
        )
        plan = self._reconstruction(Target(model, version), inputs, sampling)
        return joined(list(self._parts(plan, progress)))

    def generate(
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
        """Draw `num_samples` codes from the model's prior and decode them; `outputs` "codes" and "relaxed" at most."""
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
        return joined(list(self._parts(plan, progress)))

    def models(self) -> list[ModelSummary]:
        """Every model that is served."""
        return self._send(calls.models())

    def model(self, name: str, version: int | None = None) -> Model:
        """One model, by default its highest version."""
        return self._send(calls.model(Target(name, version)))

    def is_live(self) -> bool:
        """Whether the service runs. One that cannot be reached does not."""
        return self._is("live")

    def is_ready(self) -> bool:
        """Whether the service would answer requests. One that cannot be reached would not."""
        return self._is("ready")

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _encoding(self, target: Target, inputs: Inputs, sampling: Sampling) -> Plan[Encoding]:
        values = given.inputs(inputs)
        return plans.encode(target, values, sampling, self._limits, self._row_shape(target, values))

    def _reconstruction(self, target: Target, inputs: Inputs, sampling: Sampling) -> Plan[Reconstruction]:
        values = given.inputs(inputs)
        return plans.reconstruct(target, values, sampling, self._limits, self._row_shape(target, values))

    def _row_shape(self, target: Target, values: Given) -> tuple[int, ...] | None:
        """The model's, where an item of what was given may be a row as well as a batch."""
        return self.model(target.model, target.version).input_shape if values.is_stream else None

    def _parts(self, plan: Plan[ResultT], shown: bool) -> Iterator[ResultT]:
        """The answers to a plan's chunks, in order: the first alone, since it decides version and seed of the others,
        which are asked for some at a time.
        """
        if not isinstance(plan.chunks, Iterable):
            raise InvalidArgument(f"{plan.name}: expected an iterable, got an asynchronous one: AsyncLatentCodesClient")
        chunks = iter(plan.chunks)
        asked: deque[tuple[Chunk, Future[ResultT]]] = deque()
        with bar(plan.num_rows, shown=shown) as done:
            chunk = plans.first_of(plan, next(chunks, None))
            first = self._answer(chunk, plan.call(chunk, None))
            done(chunk.num_rows)
            yield first
            try:
                for chunk in chunks:
                    asked.append((chunk, self._threads.submit(self._answer, chunk, plan.call(chunk, first))))
                    if len(asked) == self._max_concurrency:
                        answered, part = asked.popleft()
                        yield part.result()
                        done(answered.num_rows)
                while asked:
                    answered, part = asked.popleft()
                    yield part.result()
                    done(answered.num_rows)
            finally:
                for _, part in asked:
                    part.cancel()

    def _answer(self, chunk: Chunk, call: Call[ResultT]) -> ResultT:
        try:
            return self._send(call)
        except ServiceError as error:
            raise error.of_rows(chunk.start, chunk.name_of) from error

    def _is(self, state: calls.HealthState) -> bool:
        try:
            return self._send(calls.health(state), ONCE)
        except NoReply:
            return False

    def _send(self, call: Call[ResultT], retries: Retries | None = None) -> ResultT:
        for num_tried in itertools.count(1):
            try:
                return self._send_once(call)
            except ClientError as error:
                wait = (retries or self._retries).wait_seconds(num_tried, error)
                if wait is None:
                    raise
            time.sleep(wait)
        raise AssertionError("counting ends. This is a bug.")

    def _send_once(self, call: Call[ResultT]) -> ResultT:
        request = request_of(self._http, call)
        try:
            response = self._http.send(request)
        except httpx.HTTPError as error:
            raise_of(error, request)
        return call.read(reply_of(response))
