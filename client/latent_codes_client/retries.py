"""When a call is sent again. Every call may be: the service keeps nothing, and a seed gives the same codes again."""

import random
from dataclasses import dataclass

from latent_codes_client.errors import ClientError, ConnectionFailed, InvalidArgument, Unavailable


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often and how patiently a call is tried.

    Again after a connection that failed or broke off, and after 503 or 429 with Retry-After, which says that it will
    help. Not after a timeout: whoever is slow is not helped by more to do.
    """

    attempts: int = 4
    """In all; 1 is to try once."""
    base_seconds: float = 0.25
    """What is waited after the first failed connection; doubled after each other one."""
    max_wait_seconds: float = 30.0
    """A service that asks for a longer wait than this is not waited for."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidArgument(f"attempts: expected at least 1, got {self.attempts}")
        if not (self.base_seconds >= 0 and self.max_wait_seconds >= 0):
            raise InvalidArgument("base_seconds, max_wait_seconds: expected at least 0")

    def wait_seconds(self, num_tried: int, error: ClientError) -> float | None:
        """How long to wait after `num_tried` attempts, the last of which ended so; None: give up."""
        if num_tried >= self.attempts:
            return None
        backoff = min(self.max_wait_seconds, self.base_seconds * 2.0 ** (num_tried - 1))
        # Callers that failed together do not come back together.
        jitter = random.uniform(0.5, 1.0) * backoff  # noqa: S311 - not for secrets
        match error:
            case Unavailable(retry_after_seconds=float() as asked) if asked <= self.max_wait_seconds:
                return asked + jitter
            case ConnectionFailed():
                return jitter
            case _:
                return None


DEFAULT_RETRIES = Retries()
ONCE = Retries(attempts=1)
