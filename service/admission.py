"""Who is let in, and for how long an answer is of use to them. Decided from a request's head, before its body is read.

Without keys everybody may use the models, and nobody may change which are served. With API keys, `/v1` and `/v2` need
one, health apart; pages and the OpenAPI document, which say nothing of the models' users, do not. Changing what is
served always needs an administrator's key, and an administrator may do everything.

A key is compared by the digests of both, with all keys there are, in a time that says nothing about which one fits.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from enum import Enum, auto
from pathlib import Path

from starlette.types import Scope

from service.errors import AdministrationRefused, KeysRefused, Unauthorised, invalid, quoted
from service.exchange import Exchange
from service.settings import Settings

API_KEY = "X-API-Key"
TIMEOUT = "X-Request-Timeout-Ms"
_API_KEY = API_KEY.lower().encode()
_TIMEOUT = TIMEOUT.lower().encode()
_ADMINISTRATION = "/v2/repository/models/"
_HEALTH = "/v2/health/"
_PROTECTED = re.compile(r"/v[12](/|$)")
_METRICS = "/metrics"
_MIN_KEY_LENGTH = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MILLISECONDS = re.compile(rb"[0-9]{1,9}")


class Keys:
    """Names and digests of keys; the keys themselves are not kept."""

    def __init__(self, entries: Iterable[str], source: str) -> None:
        """Of entries `name:key`. Raises KeysRefused, which says which of `source` is at fault and repeats no key."""
        self._digests: dict[str, bytes] = {}
        for number, entry in enumerate(entries, start=1):
            name, colon, key = entry.partition(":")
            if not colon or not _NAME.fullmatch(name):
                raise KeysRefused(f"entry {number} of {source}: expected name:key, the name of letters, digits and ._-")
            if len(key) < _MIN_KEY_LENGTH or not key.isascii() or not key.isprintable():
                raise KeysRefused(f"key {name} of {source}: expected at least {_MIN_KEY_LENGTH} printable characters")
            if name in self._digests:
                raise KeysRefused(f"key {name} of {source} is there twice")
            self._digests[name] = _digest(key.encode())

    @classmethod
    def of(cls, listed: str, file: Path | None, variable: str) -> "Keys":
        """Those of a setting, separated by commas or blanks, and those of a file, one a line; `#` begins a comment.

        Raises KeysRefused.
        """
        keys = cls(re.split(r"[,\s]+", listed.strip()) if listed.strip() else (), variable)
        if file is not None:
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                cause = error.strerror if isinstance(error, OSError) else "it is not text"
                raise KeysRefused(f"{variable}_FILE: {file} cannot be read: {cause}") from error
            stripped = (line.partition("#")[0].strip() for line in lines)
            more = cls((line for line in stripped if line), str(file))
            keys._digests |= more._digests
        return keys

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, key: bytes) -> str | None:
        """The name of the key, or None. Takes as long whichever it is."""
        digest, found = _digest(key), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


class Need(Enum):
    """What a request must come with."""

    NOTHING = auto()
    KEY = auto()
    ADMIN_KEY = auto()
    NOBODY_MAY = auto()
    """Nothing that it could come with would do."""


class Admission:
    """The rules for one application."""

    def __init__(self, settings: Settings) -> None:
        """Raises KeysRefused."""
        self._users = Keys.of(settings.api_keys.get_secret_value(), settings.api_keys_file, "LATENT_CODES_API_KEYS")
        self._administrators = Keys.of(
            settings.admin_keys.get_secret_value(), settings.admin_keys_file, "LATENT_CODES_ADMIN_KEYS"
        )
        self._open_metrics = settings.open_metrics
        self._timeout_seconds = settings.request_timeout_ms / 1000

    def admit(self, exchange: Exchange) -> None:
        """Say who the caller is, where a key was needed, and until when an answer to a POST is of use.

        Raises Unauthorised, AdministrationRefused, InvalidFields.
        """
        scope = exchange.scope
        need = self.need(scope["path"])
        if need is Need.NOBODY_MAY:
            raise AdministrationRefused("administration is off: the service was started without an admin key")
        if need is not Need.NOTHING:
            exchange.caller = self._require(scope, administrator=need is Need.ADMIN_KEY)
        # What is read and not computed is answered at once.
        if scope["method"] == "POST" and (timeout := self._timeout(exchange)) is not None:
            exchange.deadline = time.monotonic() + timeout

    def need(self, path: str) -> Need:
        """What a request to this path, or to any that a template of a route stands for, needs."""
        if path.startswith(_ADMINISTRATION):
            return Need.ADMIN_KEY if self._administrators else Need.NOBODY_MAY
        if not self._users:
            return Need.NOTHING
        if path == _METRICS:
            return Need.NOTHING if self._open_metrics else Need.KEY
        return Need.KEY if _PROTECTED.match(path) and not path.startswith(_HEALTH) else Need.NOTHING

    @property
    def has_users(self) -> bool:
        """Whether there are keys that are no administrator's."""
        return bool(self._users)

    def _require(self, scope: Scope, *, administrator: bool) -> str:
        given = _given_key(scope)
        if given is None:
            raise Unauthorised("expected a key, as Authorization: Bearer KEY or X-API-Key: KEY; received none")
        user, admin = self._users.name_of(given), self._administrators.name_of(given)
        if admin is not None:
            return admin
        if user is None:
            raise Unauthorised("the key is not one of those that are known here")
        if administrator:
            raise AdministrationRefused(f"the key {quoted(user)} is no administrator's")
        return user

    def _timeout(self, exchange: Exchange) -> float | None:
        """Seconds: the caller's, at most the setting's."""
        limit = self._timeout_seconds or None
        value = exchange.headers.get(_TIMEOUT)
        if value is None:
            return limit
        if not _MILLISECONDS.fullmatch(value):
            raise invalid(TIMEOUT, "milliseconds, an integer of at most 9 digits", quoted(value.decode("latin-1")))
        wanted = int(value) / 1000
        return wanted if limit is None else min(wanted, limit)


def _given_key(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == _API_KEY:
            return bytes(value)
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key:
                return bytes(key.strip())
    return None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
