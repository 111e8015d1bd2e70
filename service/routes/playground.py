"""The playground: one page at `/` and its files, as they lie in `service/playground`.

The page names its files under a digest of all of them, so a browser keeps those for a year and still never mixes two
releases; the page itself is asked for anew each time, and answered with 304 while nothing changed. The page may load
nothing from anywhere else, and runs no script that stands in it: the policy says so to the browser.
"""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import NamedTuple

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PREFIX = "playground"
PAGE = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_NOT_KEPT = "no-cache"
_KEPT_FOR_A_YEAR = "public, max-age=31536000, immutable"


class Playground(NamedTuple):
    """The files by their path, the page among them, and a digest of all."""

    digest: str
    contents: Mapping[str, bytes]

    @classmethod
    def read(cls) -> "Playground":
        """From the package; the page with the digest in the addresses of its files."""
        contents = dict(sorted(_files(files("service") / PREFIX, "")))
        digest = hashlib.sha256()
        for path, content in contents.items():
            digest.update(f"{path} {len(content)}\n".encode() + content)
        name = digest.hexdigest()[:16]
        contents[PAGE] = contents[PAGE].replace(f'"{PREFIX}/'.encode(), f'"{PREFIX}/{name}/'.encode())
        return cls(name, contents)


def router() -> APIRouter:
    """The page and its files. Both are left out of OpenAPI: they are for browsers."""
    playground = Playground.read()
    etag = f'"{playground.digest}"'

    async def page(request: Request) -> Response:
        """A page to try the models with."""
        headers = SECURITY_HEADERS | {"Cache-Control": _NOT_KEPT, "ETag": etag}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(playground.contents[PAGE], headers=headers, media_type=MEDIA_TYPES[".html"])

    async def file(digest: str, path: str) -> Response:
        """A script, a style or a picture of the page.

        Under another digest too, and then not kept: while workers are replaced, the page may come from one release and
        this request go to another.
        """
        content = playground.contents.get(path)
        if content is None or path == PAGE:
            raise HTTPException(404)
        kept = _KEPT_FOR_A_YEAR if digest == playground.digest else _NOT_KEPT
        headers = SECURITY_HEADERS | {"Cache-Control": kept}
        return Response(content, headers=headers, media_type=MEDIA_TYPES[PurePosixPath(path).suffix])

    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/", page, methods=["GET", "HEAD"])
    routes.add_api_route(f"/{PREFIX}/{{digest}}/{{path:path}}", file, methods=["GET", "HEAD"])
    return routes


def _files(folder: Traversable, below: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        path = f"{below}{entry.name}"
        if entry.is_dir():
            found += _files(entry, f"{path}/")
        elif PurePosixPath(path).suffix in MEDIA_TYPES:
            found.append((path, entry.read_bytes()))
    return found
