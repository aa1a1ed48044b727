"""Tokens, and the cookies that stand for one: browsers send no header with `EventSource` and `<img>`.

A cookie says what its owner may do and until when, signed with a key that is made of the token which it stands for:
with another token in force it is worth nothing, and a restart of the service ends nobody's session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from enum import StrEnum

from publish.config import HttpConfig

COOKIE = "vigil_session"
SESSION_S = 7 * 86400
# Sessions that were ended are remembered until they would have ended anyway, as many as this.
MOST_ENDED = 10_000
# Makes guessing a weak token from a cookie of one's own slow: 16 MiB and some 50 ms for each guess.
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}


class May(StrEnum):
    ALL = "all"
    READ = "read"
    NOTHING = "nothing"


class Logins:
    """Time is given, in seconds since the epoch."""

    def __init__(self, config: HttpConfig) -> None:
        given = {May.ALL: config.token, May.READ: config.read_token}
        self._tokens = {may: token.get_secret_value() for may, token in given.items() if token is not None}
        self._keys = {
            may: hashlib.scrypt(token.encode(), salt=f"vigil session {may}".encode(), dklen=32, **_SCRYPT)
            for may, token in self._tokens.items()
        }
        self._ended: OrderedDict[str, float] = OrderedDict()  # session -> when it would have ended

    @property
    def needed(self) -> bool:
        """Whether there is a token at all."""
        return bool(self._tokens)

    def of_token(self, given: str) -> May:
        """Takes as long whichever it is."""
        found = May.NOTHING
        for may, token in self._tokens.items():
            if hmac.compare_digest(given.encode(), token.encode()):
                found = may
        return found

    def begin(self, may: May, now_s: float) -> str:
        """A cookie's value for who has shown the token for that."""
        told = f"{may}.{int(now_s) + SESSION_S}.{secrets.token_urlsafe(12)}"
        return f"{told}.{self._signed(told, may)}"

    def of_cookie(self, value: str, now_s: float) -> May:
        may, ends_s, session = self._read(value)
        if may is May.NOTHING or ends_s <= now_s or session in self._ended:
            return May.NOTHING
        return may

    def half_over(self, value: str, now_s: float) -> bool:
        """Whether it is time for a new cookie."""
        return self._read(value)[1] - now_s < SESSION_S / 2

    def end(self, value: str, now_s: float) -> None:
        """The cookie is worth nothing from now on."""
        may, ends_s, session = self._read(value)
        if may is May.NOTHING or ends_s <= now_s:
            return
        self._ended[session] = ends_s
        while self._ended and (len(self._ended) > MOST_ENDED or next(iter(self._ended.values())) <= now_s):
            self._ended.popitem(last=False)

    def _read(self, value: str) -> tuple[May, float, str]:
        """What a cookie says, if we have signed it."""
        told, _, signature = value.rpartition(".")
        parts = told.split(".")
        if len(parts) != 3 or parts[0] not in set(self._keys):
            return May.NOTHING, 0.0, ""
        may = May(parts[0])
        if not hmac.compare_digest(signature.encode(), self._signed(told, may).encode()):
            return May.NOTHING, 0.0, ""
        return may, float(parts[1]), parts[2]

    def _signed(self, told: str, may: May) -> str:
        return hmac.new(self._keys[may], told.encode(), "sha256").hexdigest()
