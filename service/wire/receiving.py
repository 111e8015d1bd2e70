"""A request's bytes, counted while they come."""

from starlette.requests import Request

from service.errors import BodyTooLarge, MediaTypeRefused, quoted, shown


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, counted while it arrives: what Content-Length says is believed only where it is too much.

    Raises MediaTypeRefused where they are compressed, BodyTooLarge.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise MediaTypeRefused(f"Content-Encoding: expected none, received {quoted(encoding)}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise BodyTooLarge(f"expected at most {max_bytes} bytes, received {shown(int(declared[:20]))}")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(f"expected at most {max_bytes} bytes, received more")
        chunks.append(chunk)
    return b"".join(chunks)
