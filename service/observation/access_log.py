"""The access log: for every request one JSON document on a line, with nothing of its body, its query or its key."""

import logging
from typing import Any

import orjson

_logger = logging.getLogger("service.access")


class AccessLog:
    """Writes a line for each request, or nothing."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def write(self, **fields: Any) -> None:
        """One line; fields that are None are left out."""
        shown = {name: value for name, value in fields.items() if value is not None}
        _logger.info("%s", orjson.dumps(shown).decode())
