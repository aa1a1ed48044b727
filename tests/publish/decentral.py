"""An operator, an account and users, as `nsc` makes them: JWTs (version 2) signed by nkeys, and .creds files."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import nkeys

ANY = -1
LIMITS = ("subs", "conn", "leaf", "imports", "exports", "data", "payload", "mem_storage", "disk_storage", "streams")


class Identity:
    """An nkey of a kind (`nkeys.PREFIX_BYTE_USER` and others), always the same for its number."""

    def __init__(self, kind: int, number: int) -> None:
        raw = bytes([nkeys.PREFIX_BYTE_SEED | kind >> 5, (kind & 31) << 3]) + bytes([number]) * 32
        self.seed = base64.b32encode(raw + nkeys.crc16(bytearray(raw)).to_bytes(2, "little")).rstrip(b"=")
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public: str = self._pair.public_key.decode()

    def sign(self, claims: dict[str, Any]) -> str:
        """The JWT of these claims."""
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, {"iss": self.public, "iat": int(time.time()), **claims}]
        text = ".".join(_plain(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_plain(self._pair.sign(text.encode()))}"


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Realm:
    """An operator with one account."""

    def __init__(self) -> None:
        self._operator = Identity(nkeys.PREFIX_BYTE_OPERATOR, 1)
        self._account = Identity(nkeys.PREFIX_BYTE_ACCOUNT, 2)

    @property
    def server_config(self) -> str:
        """What a server needs to know of it."""
        operator = self._operator.sign({"sub": self._operator.public, "nats": {"type": "operator", "version": 2}})
        limits = {**dict.fromkeys(LIMITS, ANY), "wildcards": True}
        account = self._operator.sign({
            "sub": self._account.public,
            "nats": {"limits": limits, "default_permissions": {"pub": {}, "sub": {}}, "type": "account", "version": 2},
        })  # fmt: skip
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{{self._account.public}: {account}}}"

    def credentials(self, file: Path, number: int, by: Identity | None = None) -> Path:
        """A user's .creds file; `by` another account than this one's."""
        user = Identity(nkeys.PREFIX_BYTE_USER, number)
        anything = {"pub": {}, "sub": {}, "subs": ANY, "data": ANY, "payload": ANY, "type": "user", "version": 2}
        token = (by or self._account).sign({"sub": user.public, "nats": anything})
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return file
