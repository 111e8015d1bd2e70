"""The id of a request, which the edge gave it."""

from starlette.types import Scope


def request_id_of(scope: Scope) -> str:
    """The id in the header X-Request-ID of the reply, in problems and in the log."""
    return str(scope["state"]["request_id"])
