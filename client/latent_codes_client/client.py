"""The two clients. They send calls and nothing else: `calls` says what is sent, `replies` what comes back."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import httpx
from numpy.typing import ArrayLike

from latent_codes_client import calls
from latent_codes_client.calls import Call, CodeFormat, Output
from latent_codes_client.errors import ConnectionFailed, InvalidArgument, InvalidReply, NoReply, TimedOut
from latent_codes_client.replies import Reply
from latent_codes_client.results import Decoding, Encoding, Generation, Model, ModelSummary, Reconstruction

DEFAULT_TIMEOUT_SECONDS = 30.0

ResultT = TypeVar("ResultT")


class LatentCodesClient:
    """A client of one service. It keeps its connections: make one, use it from any thread, close it.

        with LatentCodesClient("http://127.0.0.1:8000") as client:
            codes = client.encode("mnist-binary", images).codes

    Every method raises ServiceError when the service answers with an error, NoReply when it does not answer,
    InvalidReply when what answers is not the service, and InvalidArgument before anything is sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url` may have a path; `timeout` is in seconds, for connecting and for each wait after that.

        `headers` go with every request, say an API key. A `transport` of httpx changes how requests travel: retries of
        connecting, certificates, proxies.
        """
        self._http = httpx.Client(
            base_url=_checked_url(base_url), timeout=timeout, headers=headers, transport=transport
        )

    def encode(
        self,
        model: str,
        inputs: ArrayLike,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Encoding:
        """Inputs [B, D] or [B, *input] to codes and what else `outputs` asks for.

        `temperature` decides how random the codes are: at 0 they are the most probable ones, at 1 exact samples of the
        posterior. `relaxation_temperature` decides how sharp `relaxed` is, by default as at the end of training.
        Without a `seed` the service draws one where it needs one, and returns it. `version` is by default the highest.
        """
        return self._send(
            calls.encode(
                model,
                inputs,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                num_samples=num_samples,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    def decode(
        self,
        model: str,
        codes: ArrayLike | Sequence[str] | None = None,
        *,
        relaxed: ArrayLike | None = None,
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Decoding:
        """Codes, integers [B, N] or strings [B] in `code_format`, or `relaxed` codes [B, *latent], to outputs."""
        return self._send(calls.decode(model, codes, relaxed=relaxed, code_format=code_format, version=version))

    def reconstruct(
        self,
        model: str,
        inputs: ArrayLike,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Reconstruction:
        """Inputs to codes and back, with the error of each; arguments as `encode`."""
        return self._send(
            calls.reconstruct(
                model,
                inputs,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                num_samples=num_samples,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    def generate(
        self,
        model: str,
        num_samples: int = 1,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Generation:
        """Draw `num_samples` codes from the model's prior and decode them; `outputs` "codes" and "relaxed" at most."""
        return self._send(
            calls.generate(
                model,
                num_samples,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    def models(self) -> list[ModelSummary]:
        """Every model that is served."""
        return self._send(calls.models())

    def model(self, name: str, version: int | None = None) -> Model:
        """One model, by default its highest version."""
        return self._send(calls.model(name, version))

    def is_live(self) -> bool:
        """Whether the service runs. One that cannot be reached does not."""
        return self._is("live")

    def is_ready(self) -> bool:
        """Whether the service would answer requests. One that cannot be reached would not."""
        return self._is("ready")

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _is(self, state: calls.HealthState) -> bool:
        try:
            return self._send(calls.health(state))
        except NoReply:
            return False

    def _send(self, call: Call[ResultT]) -> ResultT:
        request = _request(self._http, call)
        try:
            response = self._http.send(request)
        except httpx.HTTPError as error:
            _raise(error, request)
        return call.read(_reply(response))


class AsyncLatentCodesClient:
    """The client for asyncio: the same methods, to be awaited, with the same arguments and errors.

    async with AsyncLatentCodesClient("http://127.0.0.1:8000") as client:
        codes = (await client.encode("mnist-binary", images)).codes
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As LatentCodesClient."""
        self._http = httpx.AsyncClient(
            base_url=_checked_url(base_url), timeout=timeout, headers=headers, transport=transport
        )

    async def encode(
        self,
        model: str,
        inputs: ArrayLike,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Encoding:
        """As LatentCodesClient.encode."""
        return await self._send(
            calls.encode(
                model,
                inputs,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                num_samples=num_samples,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    async def decode(
        self,
        model: str,
        codes: ArrayLike | Sequence[str] | None = None,
        *,
        relaxed: ArrayLike | None = None,
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Decoding:
        """As LatentCodesClient.decode."""
        return await self._send(calls.decode(model, codes, relaxed=relaxed, code_format=code_format, version=version))

    async def reconstruct(
        self,
        model: str,
        inputs: ArrayLike,
        *,
        temperature: float = 0.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        num_samples: int = 1,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Reconstruction:
        """As LatentCodesClient.reconstruct."""
        return await self._send(
            calls.reconstruct(
                model,
                inputs,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                num_samples=num_samples,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    async def generate(
        self,
        model: str,
        num_samples: int = 1,
        *,
        temperature: float = 1.0,
        relaxation_temperature: float | None = None,
        seed: int | None = None,
        outputs: Sequence[Output] = ("codes",),
        code_format: CodeFormat = "indices",
        version: int | None = None,
    ) -> Generation:
        """As LatentCodesClient.generate."""
        return await self._send(
            calls.generate(
                model,
                num_samples,
                temperature=temperature,
                relaxation_temperature=relaxation_temperature,
                seed=seed,
                outputs=outputs,
                code_format=code_format,
                version=version,
            )
        )

    async def models(self) -> list[ModelSummary]:
        """As LatentCodesClient.models."""
        return await self._send(calls.models())

    async def model(self, name: str, version: int | None = None) -> Model:
        """As LatentCodesClient.model."""
        return await self._send(calls.model(name, version))

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

    async def _is(self, state: calls.HealthState) -> bool:
        try:
            return await self._send(calls.health(state))
        except NoReply:
            return False

    async def _send(self, call: Call[ResultT]) -> ResultT:
        request = _request(self._http, call)
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            _raise(error, request)
        return call.read(_reply(response))


def _checked_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgument(f"base_url: expected an address such as http://127.0.0.1:8000: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise InvalidArgument(f"base_url: expected an address such as http://127.0.0.1:8000, got {base_url!r}")
    return url


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[ResultT]) -> httpx.Request:
    if call.body is None:
        return http.build_request(call.method, call.path)
    headers = {"Content-Type": call.body.content_type}
    return http.build_request(call.method, call.path, content=call.body.content, headers=headers)


def _reply(response: httpx.Response) -> Reply:
    # httpx gives names in lower case.
    return Reply(response.status_code, dict(response.headers), response.content)


def _raise(error: httpx.HTTPError, request: httpx.Request) -> NoReturn:
    """The error of this package that `error` means."""
    at = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    cause = str(error) or type(error).__name__
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            raise TimedOut(f"no connection to {at} within the timeout") from error
        case httpx.TimeoutException():
            raise TimedOut(f"{at} did not answer within the timeout") from error
        case httpx.ConnectError():
            raise ConnectionFailed(f"cannot connect to {at}: {cause}") from error
        case httpx.DecodingError():
            raise InvalidReply(f"the reply of {at} cannot be decompressed: {cause}") from error
        case _:
            raise ConnectionFailed(f"the connection to {at} broke off: {cause}") from error
