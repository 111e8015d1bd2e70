"""The model repository extension: which models there are and which are served, and changing that.

As Triton Inference Server defines it (docs/protocol/extension_model_repository.md). What is loaded is always what is on
disk: a configuration or files that come with the request, as Triton takes them, are refused.
"""

from collections.abc import Iterable
from typing import Any

from service.errors import invalid, shown
from service.live_models import Entry
from service.open_inference.parameters import flag, members
from service.wire import parse_json


def reads_only_ready(body: bytes) -> bool:
    """Of a request for the index, `{"ready": true}` or nothing. Raises MalformedBody or InvalidFields."""
    ready = _document(body).get("ready")
    if ready is not None and type(ready) is not bool:
        raise invalid("ready", "true or false", shown(ready))
    return bool(ready)


def check_load(body: bytes) -> None:
    """Of a request to load: nothing but the model that its path names. Raises MalformedBody or InvalidFields."""
    given = _document(body).get("parameters")
    if given not in (None, {}):
        names = ", ".join(map(shown, list(given)[:3])) if type(given) is dict else shown(given)
        raise invalid("parameters", "none: a model is loaded as it is on disk", names)


def check_unload(body: bytes) -> None:
    """Of a request to unload: `unload_dependents` changes nothing, as no model here depends on another.

    Raises MalformedBody or InvalidFields.
    """
    flag(members(_document(body), "parameters", ("unload_dependents",)), "parameters", "unload_dependents")


def index(entries: Iterable[Entry], *, only_ready: bool = False) -> list[dict[str, str]]:
    """As the protocol spells it: name, version, state and reason of each version."""
    return [
        {
            "name": entry.name,
            "version": str(entry.version),
            "state": "READY" if entry.ready else "UNAVAILABLE",
            "reason": entry.reason,
        }
        for entry in entries
        if entry.ready or not only_ready
    ]


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    document = parse_json(body)
    if type(document) is not dict:
        raise invalid("body", "a JSON object, or nothing", shown(document))
    return document
