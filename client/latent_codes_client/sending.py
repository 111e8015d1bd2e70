"""Between calls and httpx: requests, replies, and what the errors of httpx mean."""

from collections.abc import Mapping
from typing import Any, NoReturn

import httpx

from latent_codes_client import arrays
from latent_codes_client.calls import Call
from latent_codes_client.errors import ConnectionFailed, InvalidArgument, InvalidReply, TimedOut
from latent_codes_client.replies import Reply

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_CHUNK_ROWS = 1024
DEFAULT_CHUNK_BYTES = 4 << 20
DEFAULT_MAX_CONCURRENCY = 4


def checked_concurrency(max_concurrency: int) -> int:
    """Raises InvalidArgument unless it is a positive integer."""
    if arrays.integer("max_concurrency", max_concurrency) < 1:
        raise InvalidArgument(f"max_concurrency: expected at least 1, got {max_concurrency}")
    return max_concurrency


def headers_of(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """What goes with every request."""
    found = dict(headers or {})
    if api_key is not None:
        if not (api_key and api_key.isascii() and api_key.isprintable() and " " not in api_key):
            # Not repeated: it is a secret.
            raise InvalidArgument("api_key: expected printable ASCII without spaces")
        found["Authorization"] = f"Bearer {api_key}"
    return found


def checked_url(base_url: str) -> httpx.URL:
    """Raises InvalidArgument unless it is the address of a service."""
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgument(f"base_url: expected an address such as http://127.0.0.1:8000: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise InvalidArgument(f"base_url: expected an address such as http://127.0.0.1:8000, got {base_url!r}")
    return url


def request_of(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    """The call as a request of httpx."""
    headers = {"Accept": call.accept}
    if call.body is None:
        return http.build_request(call.method, call.path, headers=headers)
    headers["Content-Type"] = call.body.content_type
    return http.build_request(call.method, call.path, content=call.body.content, params=call.query, headers=headers)


def reply_of(response: httpx.Response) -> Reply:
    """What came; httpx gives the names of headers in lower case."""
    return Reply(response.status_code, dict(response.headers), response.content)


def raise_of(error: httpx.HTTPError, request: httpx.Request) -> NoReturn:
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
