"""Takes credentials out of text before it reaches a log, an event, a metric or an answer."""

from __future__ import annotations

import re

# user:password@ and user@ in any URL, up to the last @ before a slash or space: cameras accept raw @ in passwords.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^\s/:@?#]*)(?P<secret>:[^\s/]*)?@")
_PARAMETER = re.compile(
    r"(?i)(?P<key>[?&;\s\"'](?:[a-z0-9_-]*(?:password|passwd|pwd|passphrase|streamid|token|secret|api_?key|auth|signature)))=(?P<value>[^&\s\"'#]+)"
)


# For NATS, what stands alone before the @ is a token.
_TOKEN_SCHEMES = ("nats://", "tls://", "ws://", "wss://")


def _hide_userinfo(match: re.Match[str]) -> str:
    if match["secret"]:
        return f"{match['scheme']}{match['user']}:***@"
    return f"{match['scheme']}{'***' if match['scheme'].lower() in _TOKEN_SCHEMES else match['user']}@"


# The last part of an RTMP address is its stream key, which lets anyone publish there.
_STREAM_KEY = re.compile(r"(?i)(?P<app>rtmps?://[^\s/]+/(?:[^\s/?\"']+/)+)(?P<key>[^\s/?\"']+)")


def redact(text: str) -> str:
    """`rtsp://user:secret@host/x?token=abc` becomes `rtsp://user:***@host/x?token=***`; RTMP stream keys go too."""
    text = _USERINFO.sub(_hide_userinfo, text)
    text = _STREAM_KEY.sub(lambda m: f"{m['app']}***", text)
    return _PARAMETER.sub(lambda m: f"{m['key']}=***", text)


_HIDDEN = re.compile(r"(?:^|[:=/])\*\*\*(?:$|[@&\s/?])")


def is_redacted(text: str) -> bool:
    """Whether something has been taken out of it: what was shown comes back as if it were the real thing."""
    return _HIDDEN.search(text) is not None
