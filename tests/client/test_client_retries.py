"""When a call is sent again, and when it is not."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from latent_codes_client import (
    ConnectionFailed,
    InvalidArgument,
    Problem,
    RequestRefused,
    Retries,
    ServiceFailed,
    TimedOut,
    Unavailable,
)

QUICK = Retries(attempts=3, base_seconds=0.001)


def failing(times: int, failure: Callable[[httpx.Request], httpx.Response]) -> tuple[Any, list[httpx.Request]]:
    """A service that fails so many times before it answers, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return failure(request) if len(asked) <= times else httpx.Response(200, json={"models": []})

    return answer, asked


def unavailable(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "0"})


def broken_off(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("peer closed connection", request=request)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize("failure", [unavailable, broken_off, refused])
def test_a_call_is_sent_again_until_it_is_answered(answered_by: Any, failure: Any) -> None:
    answer, asked = failing(2, failure)
    assert answered_by(answer, retries=QUICK).models() == []
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("failure", "error"), [(unavailable, Unavailable), (broken_off, ConnectionFailed), (refused, ConnectionFailed)]
)
def test_attempts_end_and_the_last_error_is_told(answered_by: Any, failure: Any, error: Any) -> None:
    answer, asked = failing(100, failure)
    with pytest.raises(error):
        answered_by(answer, retries=QUICK).models()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ({"status_code": 503}, Unavailable),
        ({"status_code": 503, "headers": {"Retry-After": "31"}}, Unavailable),
        ({"status_code": 422}, RequestRefused),
        ({"status_code": 500}, ServiceFailed),
        ({"status_code": 504}, ServiceFailed),
    ],
    ids=["no Retry-After", "too long to wait", "422", "500", "504"],
)
def test_what_waiting_does_not_help_is_not_sent_again(answered_by: Any, response: Any, error: Any) -> None:
    answer, asked = failing(100, lambda request: httpx.Response(**response))
    with pytest.raises(error):
        answered_by(answer, retries=QUICK).models()
    assert len(asked) == 1


def test_a_timeout_is_not_followed_by_more_of_the_same(answered_by: Any) -> None:
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    answer, asked = failing(100, late)
    with pytest.raises(TimedOut):
        answered_by(answer, retries=QUICK).models()
    assert len(asked) == 1


def test_the_service_is_waited_for_as_long_as_it_asks(answered_by: Any) -> None:
    answer, asked = failing(1, lambda request: httpx.Response(429, headers={"Retry-After": "0.3"}))
    began = time.monotonic()
    answered_by(answer, retries=QUICK).models()
    assert time.monotonic() - began >= 0.3
    assert len(asked) == 2


def test_a_request_that_is_sent_again_is_the_same_one(answered_by: Any) -> None:
    answer, asked = failing(1, unavailable)
    with pytest.raises(Exception):  # noqa: B017, PT011 - the answer is none of encode's
        answered_by(answer, retries=QUICK).encode("tiny", [[0.0, 1.0]], seed=3, temperature=1.0)
    first, second = asked
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)


def test_probes_are_asked_once(answered_by: Any) -> None:
    answer, asked = failing(100, refused)
    assert answered_by(answer, retries=QUICK).is_ready() is False
    assert len(asked) == 1


def test_waits_double_stay_within_bounds_and_are_not_all_the_same() -> None:
    retries = Retries(attempts=10, base_seconds=1.0, max_wait_seconds=8.0)
    for num_tried in range(1, 10):
        waits = {retries.wait_seconds(num_tried, ConnectionFailed()) for _ in range(200)}
        longest = min(8.0, 2.0 ** (num_tried - 1))
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 100
    assert retries.wait_seconds(10, ConnectionFailed()) is None


def test_jitter_comes_on_top_of_what_the_service_asks_for() -> None:
    asked = Unavailable(Problem(503), retry_after_seconds=2.0)
    waits = {Retries(base_seconds=1.0).wait_seconds(1, asked) for _ in range(50)}
    assert all(2.5 <= wait <= 3.0 for wait in waits)
    assert len(waits) > 10


@pytest.mark.parametrize("arguments", [{"attempts": 0}, {"base_seconds": -1.0}, {"max_wait_seconds": float("nan")}])
def test_what_is_no_number_of_attempts_or_seconds_is_refused(arguments: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected at least"):
        Retries(**arguments)
