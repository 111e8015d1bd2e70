"""The floor of the HTTP layer: uvicorn alone, which reads the body and answers the same bytes to everything."""

REPLY = b'{"model":"mnist-categorical","version":1,"seed":null,"codes":[[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(REPLY)).encode())]


async def app(scope, receive, send):
    """An ASGI application."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": REPLY})
