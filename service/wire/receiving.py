"""A request's bytes, counted while they come."""

from starlette.requests import ClientDisconnect, Request

from service.errors import BodyTooLarge, MediaTypeRefused, quoted, shown
from service.exchange import Exchange


async def read_body(request: Request | Exchange, max_bytes: int) -> bytes:
    """The body, counted while it arrives: what Content-Length says is believed only where it is too much.

    Raises MediaTypeRefused where it is compressed, BodyTooLarge, and ClientDisconnect when the caller leaves.
    """
    headers = dict(request.scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding != "identity":
        raise MediaTypeRefused(f"Content-Encoding: expected none, received {quoted(encoding)}")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"expected at most {max_bytes} bytes, received {shown(int(declared[:20]))}")
    chunks, size, is_complete = [], 0, False
    while not is_complete:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(f"expected at most {max_bytes} bytes, received more")
        chunks.append(chunk)
        is_complete = not message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
