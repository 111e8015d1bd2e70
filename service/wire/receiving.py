"""A request's bytes, counted while they come."""

from starlette.requests import ClientDisconnect

from service.errors import BodyTooLarge, MediaTypeRefused, quoted, shown
from service.exchange import Content, Exchange


async def read_body(exchange: Exchange, max_bytes: int) -> Content:
    """The body, counted while it arrives: what Content-Length says is believed only where it is too much.

    Raises MediaTypeRefused where it is compressed, BodyTooLarge, and ClientDisconnect when the caller leaves.
    """
    headers = exchange.headers
    if b"content-encoding" in headers:
        encoding = exchange.header(b"content-encoding").strip().lower()
        if encoding != "identity":
            raise MediaTypeRefused(f"Content-Encoding: expected none, received {quoted(encoding)}")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"expected at most {max_bytes} bytes, received {shown(int(declared[:20]))}")
    if exchange.content is not None:
        if len(exchange.content) > max_bytes:
            raise BodyTooLarge(f"expected at most {max_bytes} bytes, received more")
        return exchange.content
    chunks, size, is_complete = [], 0, False
    while not is_complete:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(f"expected at most {max_bytes} bytes, received more")
        chunks.append(chunk)
        is_complete = not message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
